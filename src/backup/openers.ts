import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, concatBytes, hexToBytes } from '@noble/hashes/utils.js';
import { AEAD_AES_256_GCM, CipherSuite, KDF_HKDF_SHA256, KEM_DHKEM_P256_HKDF_SHA256 } from 'hpke';
import { fromBase64url, parseObject, text, toBase64url } from './encoding.js';
import { derive, Epoch } from './epoch.js';
import { BackupError } from './errors.js';

const suite = new CipherSuite(KEM_DHKEM_P256_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_256_GCM);
const SUITE = 'P256-SHA256-AES256GCM';

/** The length of a wrap's sealed part is a multiple of this. */
const ABOUT_BYTES = 512;

/** What is known about an opener, besides its label, once the backup is open. */
export interface OpenerDetails {
  /** for the kind `key`: how its owner keeps it */
  readonly form?: 'password' | 'digits';
  /** for the kind `passkey`: the credential's id, base64url */
  readonly credential?: string;
  /** for the kind `contacts`: how many pieces there are, and how many open the backup */
  readonly pieces?: number;
  readonly threshold?: number;
}

/** A secret that opens a backup, with its kind. */
export interface Opener extends OpenerDetails {
  readonly kind: 'key' | 'passkey' | 'contacts';
  /** 32 bytes */
  readonly secret: Uint8Array;
  /** what a person calls it */
  readonly label?: string;
}

/** What opens a backup: a key of 32 bytes, which is an opener of the kind `key`, or any other opener. */
export type BackupKey = Uint8Array | Opener;

export const openerOf = (key: BackupKey): Opener =>
  key instanceof Uint8Array ? { kind: 'key', secret: key } : key;

/** What whoever has the master key knows about an opener. */
export interface OpenerInfo extends OpenerDetails {
  /** identifies it: 16 hexadecimal digits of its public key's hash */
  readonly id: string;
  readonly kind: string;
  /** 65 bytes; a master key is wrapped under it for this opener */
  readonly publicKey: Uint8Array;
  readonly label: string;
  readonly added: string;
}

const idOf = (publicKey: Uint8Array): string => bytesToHex(sha256(publicKey)).slice(0, 16);

/** What authenticates a wrap: the opener's own secret, or an older epoch's master key. */
export type Voucher = Opener | Epoch;

const pskOf = (voucher: Voucher) =>
  voucher instanceof Epoch
    ? { psk: voucher.successorKey, pskId: hexToBytes(voucher.id) }
    : { psk: derive(voucher.secret, 'bkv 2 opener psk'), pskId: text('self') };

const contextOf = (name: string, kind: string, by: string, voucher: Voucher) => ({
  info: text(`bkv 2 opener ${name}`),
  aad: text(`${kind}\0${by}`),
  ...pskOf(voucher),
});

const keyPair = ({ secret }: Opener) => suite.DeriveKeyPair(derive(secret, 'bkv 2 opener key pair'));

/** The public description of an opener, derived from its secret. */
export async function describe(opener: Opener): Promise<OpenerInfo> {
  const { kind, label = '', secret: _, ...details } = opener;
  const publicKey = await suite.SerializePublicKey((await keyPair(opener)).publicKey);
  return { ...details, id: idOf(publicKey), kind, publicKey, label, added: new Date().toISOString() };
}

/** Padding, so that the length reveals neither the form nor the label. JSON may end in spaces. */
function padded(json: string): string {
  const { length } = text(json);
  return json + ' '.repeat(-length & (ABOUT_BYTES - 1));
}

/**
 * Wraps an epoch's master key for an opener. @param name that of the object @returns the object's content,
 * JSON
 */
export async function wrap(
  name: string,
  epoch: Epoch,
  { id: _, kind, publicKey, ...details }: OpenerInfo,
  voucher: Voucher,
): Promise<Uint8Array> {
  const by = voucher instanceof Epoch ? voucher.id : 'self';
  const recipient = await suite.DeserializePublicKey(publicKey);
  const { encapsulatedSecret, ciphertext } = await suite.Seal(
    recipient,
    epoch.masterKey,
    contextOf(name, kind, by, voucher),
  );
  const digest = digestOf({ enc: encapsulatedSecret, key: ciphertext });
  const told = { publicKey: toBase64url(publicKey), ...details, digest };
  const about = await epoch.seal(name, text(padded(JSON.stringify(told))));
  return text(
    `${JSON.stringify({
      version: 2,
      kind,
      suite: SUITE,
      by,
      enc: toBase64url(encapsulatedSecret),
      key: toBase64url(ciphertext),
      about: toBase64url(about),
    })}\n`,
  );
}

/** A wrap as it is in the storage. */
export interface Wrap {
  readonly name: string;
  readonly kind: string;
  /** `self`, or an epoch */
  readonly by: string;
  readonly enc: Uint8Array;
  readonly key: Uint8Array;
  readonly about: Uint8Array;
}

/** @throws BackupError when it is damaged, or of an unknown kind */
export function parseWrap(name: string, content: Uint8Array): Wrap {
  const { version, kind, suite: of, by, enc, key, about } = parseObject(content, name);
  if (version !== 2 || typeof kind !== 'string' || of !== SUITE || typeof by !== 'string')
    throw new BackupError(`${name} is of a kind that this program does not know`);
  return {
    name,
    kind,
    by,
    enc: fromBase64url(enc, 65),
    key: fromBase64url(key, 48),
    about: fromBase64url(about),
  };
}

/**
 * @returns the master key, 32 bytes; `undefined` when it is wrapped for another opener, or authenticated by
 * another voucher
 */
export async function unwrap(wrap: Wrap, opener: Opener, voucher: Voucher): Promise<Uint8Array | undefined> {
  try {
    const context = contextOf(wrap.name, wrap.kind, wrap.by, voucher);
    return await suite.Open(await keyPair(opener), wrap.enc, wrap.key, context);
  } catch {
    return undefined;
  }
}

/** By this digest, whoever has the master key recognises a damaged wrap without the opener's secret. */
const digestOf = ({ enc, key }: Pick<Wrap, 'enc' | 'key'>): string =>
  toBase64url(sha256(concatBytes(enc, key)));

/** Whether a wrap is as it was written. @param content JSON */
export async function isSound(name: string, content: Uint8Array, epoch: Epoch): Promise<boolean> {
  try {
    const wrap = parseWrap(name, content);
    const { digest } = parseObject(await epoch.open(name, wrap.about), name);
    // The first wraps had no digest.
    return digest === undefined || digest === digestOf(wrap);
  } catch (error) {
    if (error instanceof BackupError) return false;
    throw error;
  }
}

/** @throws BackupError when it is not of this epoch */
export async function openAbout(wrap: Wrap, epoch: Epoch): Promise<OpenerInfo> {
  const {
    publicKey,
    label,
    added,
    digest: _,
    ...details
  } = parseObject(await epoch.open(wrap.name, wrap.about), wrap.name);
  const key = fromBase64url(publicKey, 65);
  // Fields that this program does not know are copied to later epochs unchanged.
  return {
    ...details,
    id: idOf(key),
    kind: wrap.kind,
    publicKey: key,
    label: String(label),
    added: String(added),
  };
}
