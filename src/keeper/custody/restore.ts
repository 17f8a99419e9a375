import { z } from 'zod';
import { restoredLedger, unpackWords } from '../ledger/index.js';
import {
  KEY_LABELS,
  PAGE_KEY_PREFIX,
  type Profile,
  rehearseSecrets,
  restoreSecrets,
  type TokenSecrets,
} from '../pkcs11/index.js';
import { BACKUP, BACKUP_CHECK, backupMacInput, TokenBackupError } from '../vault/index.js';

const base64 = z.base64();
const pageLabel = z.string().startsWith(PAGE_KEY_PREFIX);
const fileSchema = z.strictObject({
  format: z.literal(BACKUP.format),
  version: z.literal(BACKUP.version),
  content: z.strictObject({
    created: z.iso.datetime(),
    long: z.strictObject({
      kek: base64,
      keys: z.record(z.enum(KEY_LABELS), base64),
      staticPublicKey: base64,
    }),
    pair: z.strictObject({ wrapped: base64, publicKey: base64 }),
    keys: z.array(z.strictObject({ label: pageLabel, wrapped: base64 })),
    macs: z.array(z.strictObject({ label: z.union([z.enum(KEY_LABELS), pageLabel]), mac: base64 })),
    pages: z.array(z.strictObject({ generation: z.int(), next: z.int(), cells: base64 })),
  }),
  mac: base64,
});
type Content = z.infer<typeof fileSchema>['content'];

const decode = (text: string): Buffer => Buffer.from(text, 'base64');

/** What a backup held. */
export interface RestoredToken {
  readonly created: string;
  readonly pageKeys: number;
}

const summary = ({ created, keys }: Content): RestoredToken => ({ created, pageKeys: keys.length });

/**
 * Tries every key of a backup in the token that it was made for; nothing stays there.
 * @throws TokenBackupError, TokenError
 */
export function rehearseToken(profile: Profile, text: string): RestoredToken {
  const { content, secrets } = read(text);
  rehearseSecrets(profile, secrets);
  return summary(content);
}

/**
 * Has the token that a backup was made for stand in for the lost one, every living account with one attempt.
 * @throws TokenBackupError, TokenError
 */
export function restoreToken(profile: Profile, text: string): RestoredToken {
  const { content, secrets } = read(text);
  // Read once the backup is known to be authentic.
  const pages = () =>
    content.pages.map(({ cells, ...page }) => ({ ...page, words: unpackWords(decode(cells)) }));
  const labels = content.keys.map(({ label }) => label);
  restoreSecrets(profile, secrets, (mac) => restoredLedger(pages(), labels, mac, profile.objectBytes));
  return summary(content);
}

/** @throws TokenBackupError */
function read(text: string): { content: Content; secrets: TokenSecrets } {
  const { content, mac, authenticated } = parse(text);
  const macs = [
    ...content.macs.map((one) => ({ label: one.label, data: BACKUP_CHECK, mac: decode(one.mac) })),
    { label: KEY_LABELS.audit, data: backupMacInput(authenticated), mac: decode(mac) },
  ];
  return { content, secrets: { long: content.long, pair: content.pair, pages: content.keys, macs } };
}

function parse(text: string) {
  try {
    const file = JSON.parse(text);
    const version = file.version ?? /^bkv token backup v(\d+)$/.exec(file.format)?.[1];
    if (String(file.format).startsWith(BACKUP.format) && version !== BACKUP.version)
      throw new TokenBackupError(
        `this backup of a token has version ${version}, and this program reads version ${BACKUP.version}: use the program that made it`,
      );
    return { ...fileSchema.parse(file), authenticated: file.content as unknown };
  } catch (error) {
    if (error instanceof TokenBackupError) throw error;
    throw new TokenBackupError('this is not a backup of a token, or it is damaged');
  }
}
