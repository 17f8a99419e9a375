import { createHash } from 'node:crypto';
import { CodedError } from '../../protocol/terms.js';
import { type Ledger, packWords } from '../ledger/index.js';
import { ESCROW_LABEL, type EscrowedKeys, KEY_LABELS, PAGE_KEY_PREFIX } from '../pkcs11/index.js';
import type { Token } from '../pool/index.js';

/** A backup of a token that cannot be taken, or read. */
export class TokenBackupError extends CodedError {
  constructor(message: string) {
    super('no-backup', message);
  }
}

/** Format and version of a backup: docs/formats/token-backup.md. */
export const BACKUP = { format: 'bkv token backup', version: 3 } as const;
const NAME = `${BACKUP.format} ${BACKUP.version}`;

/** The input for HMAC keys when a backup is made and when it is tried. */
export const BACKUP_CHECK = Buffer.from(`${NAME} check`);
/** The HMAC keys that are tried besides the page keys. The audit key authenticates the whole backup. */
const CHECKED = [KEY_LABELS.fake, KEY_LABELS.ledger, KEY_LABELS.names] as const;
const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

/** What the token's audit key authenticates a backup by. */
export const backupMacInput = (content: unknown): Uint8Array =>
  Buffer.from(`${NAME} ${createHash('sha256').update(JSON.stringify(content)).digest('hex')}`);

/**
 * All that a backup token needs to replace a vault's token: the keys, wrapped for the backup token, and which
 * accounts have ended. The backup reveals no secret. The token's audit key authenticates it.
 * @throws TokenBackupError when the token was made without a backup token
 */
export async function backUpToken(token: Token, ledger: Ledger): Promise<string> {
  const [escrowed] = await token.call('listData', ESCROW_LABEL);
  if (!escrowed)
    throw new TokenBackupError(
      'the token has no backup token; one is named when it is made: bkv token init --backup-key',
    );
  const pair = await token.call('generateWrapped');
  const labels = (await token.listPageKeys(PAGE_KEY_PREFIX))
    .filter(({ fault }) => fault === undefined)
    .map(({ label }) => label);
  const keys = [];
  for (const label of labels) keys.push({ label, wrapped: encode(await token.call('wrapForBackup', label)) });
  const macs = [];
  for (const label of [...CHECKED, ...labels])
    macs.push({ label, mac: encode(await token.call('hmac', label, BACKUP_CHECK)) });
  const content = {
    created: new Date().toISOString(),
    long: JSON.parse(Buffer.from(escrowed.value).toString()) as EscrowedKeys,
    pair: { wrapped: encode(pair.wrapped), publicKey: encode(pair.publicKey) },
    keys,
    macs,
    pages: ledger
      .snapshot()
      .map(({ generation, next, words }) => ({ generation, next, cells: encode(packWords(words)) })),
  };
  const mac = encode(await token.call('hmac', KEY_LABELS.audit, backupMacInput(content)));
  return `${JSON.stringify({ ...BACKUP, content, mac })}\n`;
}
