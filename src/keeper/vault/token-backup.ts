import { createHash } from 'node:crypto';
import { CodedError } from '../../protocol/index.js';
import { KEY_PREFIX, type Ledger, packWords } from '../ledger/index.js';
import { ESCROW_LABEL, type EscrowedKeys, KEY_LABELS, type Token } from '../pkcs11/index.js';

/** A backup of a token that cannot be taken, or read. */
export class TokenBackupError extends CodedError {
  constructor(message: string) {
    super('no-backup', message);
  }
}

/** What long-lived keys are asked for the HMAC of, when a backup is taken and when it is tried. */
export const BACKUP_CHECK = Buffer.from('bkv token backup check v1');
const CHECKED = [KEY_LABELS.record, KEY_LABELS.fake] as const;
const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

/** What the token's audit key authenticates a backup by. */
export const backupMacInput = (content: unknown): Uint8Array =>
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
  for (const label of CHECKED)
    macs.push({ label, mac: encode(await token.call('hmac', label, BACKUP_CHECK)) });
  const content = {
    created: new Date().toISOString(),
    long: JSON.parse(Buffer.from(escrowed.value).toString()) as EscrowedKeys,
    wrapping,
    macs,
    pages: ledger
      .snapshot()
      .map(({ generation, next, words }) => ({ generation, next, cells: encode(packWords(words)) })),
  };
  const mac = encode(await token.call('hmac', KEY_LABELS.audit, backupMacInput(content)));
  return `${JSON.stringify({ format: 'bkv token backup v2', content, mac })}\n`;
}
