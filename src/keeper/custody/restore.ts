import {
  base64,
  type Checked,
  checkValue,
  fields,
  integer,
  list,
  matching,
  oneOf,
} from '../../config/index.js';
import { restoredLedger, unpackWords } from '../ledger/index.js';
import {
  KEY_LABELS,
  type KeyLabel,
  PAGE_KEY_PREFIX,
  type Profile,
  rehearseSecrets,
  restoreSecrets,
  type TokenSecrets,
} from '../pkcs11/index.js';
import { BACKUP, BACKUP_CHECK, backupMacInput, TokenBackupError } from '../vault/index.js';

const labels = Object.values(KEY_LABELS);
const isPageLabel = (label: string): boolean => label.startsWith(PAGE_KEY_PREFIX);
const pageLabel = matching('a label of a page key', isPageLabel);
const label = matching(
  'a label of a key',
  (value) => isPageLabel(value) || (labels as string[]).includes(value),
);
const long = Object.fromEntries(labels.map((name) => [name, base64])) as Record<KeyLabel, typeof base64>;
const u32 = integer(0, 2 ** 32 - 1);
const backupFile = fields({
  format: oneOf(BACKUP.format),
  version: integer(BACKUP.version, BACKUP.version),
  content: fields({
    created: matching('a time', (value) => !Number.isNaN(Date.parse(value))),
    long: fields({ kek: base64, keys: fields(long), staticPublicKey: base64 }),
    pair: fields({ wrapped: base64, publicKey: base64 }),
    keys: list(fields({ label: pageLabel, wrapped: base64 })),
    macs: list(fields({ label, mac: base64 })),
    pages: list(fields({ generation: u32, next: u32, cells: base64 })),
  }),
  mac: base64,
});
type Content = Checked<typeof backupFile>['content'];

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
 * Makes the token that a backup was made for replace the lost one. Every living account then has one attempt.
 * @throws TokenBackupError, TokenError
 */
export function restoreToken(profile: Profile, text: string): RestoredToken {
  const { content, secrets } = read(text);
  // Read only once the backup is known to be authentic.
  const pages = () =>
    content.pages.map(({ cells, ...page }) => ({ ...page, words: unpackWords(decode(cells)) }));
  const labels = content.keys.map(({ label }) => label);
  restoreSecrets(profile, secrets, (mac) => restoredLedger(pages(), labels, mac, profile.objectBytes));
  return summary(content);
}

/** @throws TokenBackupError */
function read(text: string): { content: Content; secrets: TokenSecrets } {
  const { content, mac } = parse(text);
  const macs = [
    ...content.macs.map((one) => ({ label: one.label, data: BACKUP_CHECK, mac: decode(one.mac) })),
    { label: KEY_LABELS.audit, data: backupMacInput(content), mac: decode(mac) },
  ];
  return { content, secrets: { long: content.long, pair: content.pair, pages: content.keys, macs } };
}

/** The backup as it was written, which its MAC covers, once every field of it was checked. */
function parse(text: string): Checked<typeof backupFile> {
  try {
    const file = JSON.parse(text);
    const version = file.version ?? /^bkv token backup v(\d+)$/.exec(file.format)?.[1];
    if (String(file.format).startsWith(BACKUP.format) && version !== BACKUP.version)
      throw new TokenBackupError(
        `this backup of a token has version ${version}, and this program reads version ${BACKUP.version}: use the program that made it${Number(version) < BACKUP.version ? ', version 0.1' : ', or a newer one'}`,
      );
    checkValue(file, 'the file', backupFile, damaged);
    return file;
  } catch (error) {
    if (error instanceof TokenBackupError) throw error;
    return damaged((error as Error).message);
  }
}

function damaged(faults: string): never {
  throw new TokenBackupError(`this is not a backup of a token, or it is damaged: ${faults}`);
}
