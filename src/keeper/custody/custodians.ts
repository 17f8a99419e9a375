import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { argon2id } from 'hash-wasm';
import { combine, split } from 'shamir-secret-sharing';
import { preparePassword } from '../../client/index.js';
import { base64, type Checked, checkYaml, fields, integer, list, oneOf } from '../../config/index.js';
import { CodedError } from '../../protocol/terms.js';

/** A file of custodians that cannot be opened: damaged, or too few of them, or a wrong passphrase. */
export class CustodyError extends CodedError {
  constructor(message: string) {
    super('custodians-failed', message);
  }
}

const file = fields({
  format: oneOf('bkv custodians v1'),
  threshold: integer(2, 255),
  shares: list(fields({ salt: base64, sealed: base64 }), 2),
});

const NONCE = Buffer.alloc(12);

/**
 * Argon2id, 128 MiB: twice what a user's password costs, because whoever has the file can guess without a
 * counter.
 */
const stretch = (passphrase: string, salt: Uint8Array): Promise<Uint8Array> =>
  argon2id({
    password: preparePassword(passphrase),
    salt,
    iterations: 3,
    memorySize: 131_072,
    parallelism: 4,
    hashLength: 32,
    outputType: 'binary',
  });

/**
 * A random secret, shared out (Shamir): each share sealed (AES-256-GCM) under a custodian's passphrase (Argon2id with a
 * salt of its own). Anyone may hold the file; it opens with `threshold` of the passphrases.
 * @returns the file's text
 * @throws CustodyError when the threshold is not between 2 and the number of custodians, or two passphrases are equal
 */
export async function appointCustodians(threshold: number, passphrases: readonly string[]): Promise<string> {
  if (!Number.isInteger(threshold) || threshold < 2 || threshold > passphrases.length)
    throw new CustodyError('the threshold must be at least 2, and at most the number of custodians');
  if (new Set(passphrases).size < passphrases.length)
    throw new CustodyError('two custodians chose the same passphrase');
  const secret = Uint8Array.from(randomBytes(32));
  const shares = await split(secret, passphrases.length, threshold);
  secret.fill(0);
  const sealed = [];
  for (const [i, share] of shares.entries()) {
    const salt = randomBytes(16);
    const key = await stretch(passphrases[i] as string, salt);
    const cipher = createCipheriv('aes-256-gcm', key, NONCE);
    const bytes = Buffer.concat([cipher.update(share), cipher.final(), cipher.getAuthTag()]);
    for (const spent of [share, key]) spent.fill(0);
    sealed.push({ salt: salt.toString('base64'), sealed: bytes.toString('base64') });
  }
  return `${JSON.stringify({ format: 'bkv custodians v1', threshold, shares: sealed }, undefined, 2)}\n`;
}

/** What the custodians hold, once enough of them have taken part. */
export interface Custody {
  /** PIN of the security officer of the vault's token; each PIN has 43 characters */
  readonly soPin: string;
  /** PIN of the backup token's user */
  readonly backupPin: string;
  /** PIN of the backup token's security officer */
  readonly backupSoPin: string;
}

/**
 * Opens a file of custodians.
 * @param next asks the next custodian; `have` of `threshold` have come
 * @throws CustodyError when a passphrase opens no share, or one that is open already
 */
export async function openCustody(
  text: string,
  next: (have: number, threshold: number) => Promise<string>,
): Promise<Custody> {
  const { threshold, shares: all } = parse(text);
  const shares: Uint8Array[] = [];
  let sealed = all;
  while (shares.length < threshold) {
    const passphrase = await next(shares.length, threshold);
    let found: Buffer | undefined;
    for (const one of sealed) {
      found = await unseal(one, passphrase);
      if (!found) continue;
      shares.push(Uint8Array.from(found));
      sealed = sealed.filter((other) => other !== one);
      break;
    }
    if (!found) throw new CustodyError('this passphrase opens no share, or one that is already open');
  }
  const secret = await combine(shares);
  const pin = (name: string): string =>
    Buffer.from(hkdfSync('sha256', secret, '', `bkv custody v1 ${name}`, 32)).toString('base64url');
  const custody = { soPin: pin('so pin'), backupPin: pin('backup pin'), backupSoPin: pin('backup so pin') };
  for (const spent of [secret, ...shares]) spent.fill(0);
  return custody;
}

/** @throws CustodyError */
const parse = (text: string): Checked<typeof file> =>
  checkYaml(text, 'the file', file, (faults) => {
    throw new CustodyError(`this is not a file of custodians, or it is damaged: ${faults}`);
  });

async function unseal(share: { salt: string; sealed: string }, passphrase: string) {
  const [salt, sealed] = [Buffer.from(share.salt, 'base64'), Buffer.from(share.sealed, 'base64')];
  const key = await stretch(passphrase, salt);
  const decipher = createDecipheriv('aes-256-gcm', key, NONCE);
  key.fill(0);
  decipher.setAuthTag(sealed.subarray(-16));
  try {
    const opened = decipher.update(sealed.subarray(0, -16));
    decipher.final();
    return opened;
  } catch {
    return undefined;
  }
}
