import { createHash } from 'node:crypto';
import { z } from 'zod';
import { CodedError } from '../../protocol/index.js';
import { KEY_PREFIX, type Ledger, packWords, restoredLedger, unpackWords } from '../ledger/index.js';
import {
  ESCROW_LABEL,
  type EscrowedKeys,
  KEY_LABELS,
  type Profile,
  restoreSecrets,
  type Token,
} from '../pkcs11/index.js';

/** A backup of a token that cannot be taken, or read. */
export class TokenBackupError extends CodedError {
  constructor(message: string) {
    super('no-backup', message);
  }
}

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

const CHECK = Buffer.from('bkv token backup check v1');
const CHECKED = [KEY_LABELS.record, KEY_LABELS.fake] as const;
const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const decode = (text: string): Buffer => Buffer.from(text, 'base64');

/** What the token's audit key authenticates a backup by. */
const macOf = (content: unknown): Uint8Array =>
  Buffer.from(`bkv token backup v2 ${createHash('sha256').update(JSON.stringify(content)).digest('hex')}`);

/**
 * All that a backup token needs to stand in for a vault's token: its keys, wrapped for that one, and which accounts
 * have ended. Nothing in it is secret from who holds it; the token's audit key authenticates it.
 * @throws TokenBackupError when the token was made without a backup token
 */
export async function backUpToken(token: Token, ledger: Ledger): Promise<string> {
  const [escrowed] = await token.call('listData', ESCROW_LABEL);
  if (!escrowed)
    throw new TokenBackupError(
      'the token has no backup token; one is named when it is made: bkv token init --backup-key',
    );
  const wrapping = [];
  for (const label of await token.listWrappingKeys(KEY_PREFIX)) {
    const wrapped = await token.call('wrapForBackup', label);
    const check = await token.call('generateWrapped', label);
    wrapping.push({
      label,
      wrapped: encode(wrapped),
      check: { wrapped: encode(check.wrapped), publicKey: encode(check.publicKey) },
    });
  }
  const macs = [];
  for (const label of CHECKED) macs.push({ label, mac: encode(await token.call('hmac', label, CHECK)) });
  const content = {
    created: new Date().toISOString(),
    long: JSON.parse(Buffer.from(escrowed.value).toString()) as EscrowedKeys,
    wrapping,
    macs,
    pages: ledger
      .snapshot()
      .map(({ generation, next, words }) => ({ generation, next, cells: encode(packWords(words)) })),
  };
  const mac = encode(await token.call('hmac', KEY_LABELS.audit, macOf(content)));
  return `${JSON.stringify({ format: 'bkv token backup v2', content, mac })}\n`;
}

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
  const macs = content.macs.map(({ label, mac }) => ({ label, data: CHECK, mac: decode(mac) }));
  restoreSecrets(
    profile,
    {
      ...content,
      macs: [...macs, { label: KEY_LABELS.audit, data: macOf(authenticated), mac: decode(mac) }],
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
