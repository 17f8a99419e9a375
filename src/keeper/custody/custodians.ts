import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { argon2id } from 'hash-wasm';
import { combine, split } from 'shamir-secret-sharing';
import { preparePassword } from '../../client/index.js';
import { base64, type Checked, checkYaml, fields, integer, list, oneOf } from '../../config/index.js';
import { equal } from '../../protocol/index.js';
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

const SALT_BYTES = 16;
const TAG_BYTES = 16;
/** A share of a secret of 32 bytes has 33, as `shamir-secret-sharing` makes it. */
const SEALED_BYTES = 33 + TAG_BYTES;
const MOST_SHARES = 255;

/**
 * Argon2id, 128 MiB: twice what a user's password costs, because whoever has the file can guess without a
 * counter. @param passphrase prepared
 */
const stretch = (passphrase: Uint8Array, salt: Uint8Array): Promise<Uint8Array> =>
  argon2id({
    password: passphrase,
    salt,
    iterations: 3,
    memorySize: 131_072,
    parallelism: 4,
    hashLength: 32,
    outputType: 'binary',
  });

const zero = (secrets: readonly Uint8Array[]): void => {
  for (const secret of secrets) secret.fill(0);
};

/**
 * A random secret, shared out (Shamir): each share sealed (AES-256-GCM) under a custodian's passphrase (Argon2id with a
 * salt of its own). Anyone may hold the file; it opens with `threshold` of the passphrases.
 * @returns the file's text
 * @throws CustodyError when the threshold is not between 2 and the number of custodians, or two passphrases are equal
 * @throws BkvError as `preparePassword`
 */
export async function appointCustodians(threshold: number, passphrases: readonly string[]): Promise<string> {
  if (!Number.isInteger(threshold) || threshold < 2 || threshold > passphrases.length)
    throw new CustodyError('the threshold must be at least 2, and at most the number of custodians');
  if (passphrases.length > MOST_SHARES)
    throw new CustodyError(`there can be ${MOST_SHARES} custodians at most`);
  const secrets: Uint8Array[] = [];
  try {
    const prepared = passphrases.map((passphrase) => preparePassword(passphrase));
    secrets.push(...prepared);
    if (prepared.some((one, i) => prepared.slice(0, i).some((other) => equal(one, other))))
      throw new CustodyError('two custodians chose the same passphrase');
    const secret = Uint8Array.from(randomBytes(32));
    secrets.push(secret);
    const shares = await split(secret, passphrases.length, threshold);
    secrets.push(...shares);
    const sealed = [];
    for (const [i, share] of shares.entries()) sealed.push(await seal(share, prepared[i] as Uint8Array));
    return `${JSON.stringify({ format: 'bkv custodians v1', threshold, shares: sealed }, undefined, 2)}\n`;
  } finally {
    zero(secrets);
  }
}

async function seal(share: Uint8Array, passphrase: Uint8Array): Promise<Sealed> {
  const salt = randomBytes(SALT_BYTES);
  const key = await stretch(passphrase, salt);
  const cipher = createCipheriv('aes-256-gcm', key, NONCE);
  key.fill(0);
  const bytes = Buffer.concat([cipher.update(share), cipher.final(), cipher.getAuthTag()]);
  return { salt: salt.toString('base64'), sealed: bytes.toString('base64') };
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
  try {
    let sealed = all;
    while (shares.length < threshold) {
      const opened = await unsealOne(sealed, await next(shares.length, threshold));
      shares.push(opened.share);
      sealed = sealed.filter((other) => other !== opened.by);
    }
    const secret = await combine(shares);
    shares.push(secret);
    const pin = (name: string): string =>
      Buffer.from(hkdfSync('sha256', secret, '', `bkv custody v1 ${name}`, 32)).toString('base64url');
    return { soPin: pin('so pin'), backupPin: pin('backup pin'), backupSoPin: pin('backup so pin') };
  } finally {
    zero(shares);
  }
}

type Sealed = Checked<typeof file>['shares'][number];

/** @throws CustodyError */
function parse(text: string): Checked<typeof file> {
  const damaged = (faults: string): never => {
    throw new CustodyError(`this is not a file of custodians, or it is damaged: ${faults}`);
  };
  const custody = checkYaml(text, 'the file', file, damaged);
  const { threshold, shares } = custody;
  if (shares.length < threshold || shares.length > MOST_SHARES)
    damaged(`it has ${shares.length} shares, and ${threshold} to ${MOST_SHARES} are possible`);
  const lengthOf = (value: string) => Buffer.from(value, 'base64').length;
  for (const [i, { salt, sealed }] of shares.entries())
    if (lengthOf(salt) !== SALT_BYTES || lengthOf(sealed) !== SEALED_BYTES)
      damaged(`share ${i + 1} has the wrong length`);
  return custody;
}

/** The share that a passphrase opens. @throws CustodyError, BkvError as `preparePassword` */
async function unsealOne(
  sealed: readonly Sealed[],
  passphrase: string,
): Promise<{ share: Uint8Array; by: Sealed }> {
  const prepared = preparePassword(passphrase);
  try {
    for (const by of sealed) {
      const share = await unseal(by, prepared);
      if (share) return { share, by };
    }
  } finally {
    prepared.fill(0);
  }
  throw new CustodyError('this passphrase opens no share, or its share is already open');
}

async function unseal(share: Sealed, passphrase: Uint8Array): Promise<Uint8Array | undefined> {
  const [salt, sealed] = [Buffer.from(share.salt, 'base64'), Buffer.from(share.sealed, 'base64')];
  const key = await stretch(passphrase, salt);
  const decipher = createDecipheriv('aes-256-gcm', key, NONCE, { authTagLength: TAG_BYTES });
  key.fill(0);
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  const opened = decipher.update(sealed.subarray(0, -TAG_BYTES));
  try {
    decipher.final();
    return Uint8Array.from(opened);
  } catch {
    return undefined;
  } finally {
    opened.fill(0);
  }
}
