import { z } from 'zod';
import { KEY_PREFIX, restoredLedger, unpackWords } from '../ledger/index.js';
import { KEY_LABELS, type Profile, restoreSecrets } from '../pkcs11/index.js';
import { BACKUP_CHECK, backupMacInput, TokenBackupError } from '../vault/index.js';

const base64 = z.base64();
const contentSchema = z.strictObject({
  created: z.iso.datetime(),
  long: z.strictObject({
    kek: base64,
    keys: z.record(z.enum(KEY_LABELS), base64),
    staticPublicKey: base64,
    transportPublicKey: base64,
  }),
  wrapping: z.array(
    z.strictObject({
      label: z.string().startsWith(KEY_PREFIX),
      wrapped: base64,
      check: z.strictObject({ wrapped: base64, publicKey: base64 }),
    }),
  ),
  macs: z.array(z.strictObject({ label: z.enum(KEY_LABELS), mac: base64 })),
  pages: z.array(z.strictObject({ generation: z.int(), next: z.int(), cells: base64 })),
});
const fileSchema = z.strictObject({
  format: z.literal('bkv token backup v2'),
  content: contentSchema,
  mac: base64,
});

const decode = (text: string): Buffer => Buffer.from(text, 'base64');

/** What a backup held. */
export interface RestoredToken {
  readonly created: string;
  readonly wrappingKeys: number;
}

/**
 * Takes a backup into the token that it was made for, and tries every key of it.
 * @param keep whether that token now stands in for the lost one, every living account with one attempt; else it is a
 * rehearsal, and nothing stays
 * @throws TokenBackupError, TokenError
 */
export function restoreToken(profile: Profile, text: string, keep: boolean): RestoredToken {
  const { content, mac, authenticated } = read(text);
  // Only once the backup is known to be authentic.
  const pages = () =>
    content.pages.map(({ cells, ...page }) => ({ ...page, words: unpackWords(decode(cells)) }));
  const labels = content.wrapping.map(({ label }) => label);
  const macs = content.macs.map(({ label, mac }) => ({ label, data: BACKUP_CHECK, mac: decode(mac) }));
  restoreSecrets(
    profile,
    {
      ...content,
      macs: [...macs, { label: KEY_LABELS.audit, data: backupMacInput(authenticated), mac: decode(mac) }],
    },
    keep,
    (mac) => (keep ? restoredLedger(pages(), labels, mac) : []),
  );
  return { created: content.created, wrappingKeys: labels.length };
}

function read(text: string) {
  try {
    const file = JSON.parse(text);
    return { ...fileSchema.parse(file), authenticated: file.content as unknown };
  } catch {
    throw new TokenBackupError('this is not a backup of a token, or it is damaged');
  }
}
