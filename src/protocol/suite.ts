import { p256, p256_oprf } from '@noble/curves/nist.js';
import { expand, extract } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { concatBytes, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js';
import { native, portable } from './hashing.js';
import { SIZES } from './sizes.js';

export const oprf = p256_oprf.oprf;
export const bytes = utf8ToBytes;
export const concat = concatBytes;
export const { hash, mac } = native ?? portable;

export const hkdfExtract = (ikm: Uint8Array, salt: Uint8Array = new Uint8Array(0)): Uint8Array =>
  extract(sha256, ikm, salt);
export const hkdfExpand = (key: Uint8Array, info: Uint8Array, length: number = SIZES.hash): Uint8Array =>
  expand(sha256, key, info, length);

/** I2OSP(length, 2) ‖ data */
export const prefixed = (data: Uint8Array): Uint8Array =>
  concat(Uint8Array.of(data.length >> 8, data.length & 255), data);

export const xor = (a: Uint8Array, b: Uint8Array): Uint8Array => a.map((byte, i) => byte ^ (b[i] as number));

/** Equality in a time that does not depend on where the difference is. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= (a[i] as number) ^ (b[i] as number);
  return difference === 0;
}

/** DeriveDiffieHellmanKeyPair (RFC 9807, section 2.1). @param seed 32 bytes */
export const deriveKeyPair = (seed: Uint8Array): { secretKey: Uint8Array; publicKey: Uint8Array } =>
  oprf.deriveKeyPair(seed, bytes('OPAQUE-DeriveDiffieHellmanKeyPair'));

/** Fills n random bytes; the system's generator unless a test vector says otherwise. */
export type RandomBytes = (n?: number) => Uint8Array;
export const randomBytes: RandomBytes = (n = 32) => crypto.getRandomValues(new Uint8Array(n));

/** A fresh key pair. @param random makes the seed, which is zeroed */
export function newKeyPair(random: RandomBytes = randomBytes): ReturnType<typeof deriveKeyPair> {
  const seed = random(32);
  try {
    return deriveKeyPair(seed);
  } finally {
    seed.fill(0);
  }
}

/** DiffieHellman (RFC 9807, section 2.1): a compressed point, 33 bytes; {@link xOf} has its x-coordinate. */
export const diffieHellman = (secretKey: Uint8Array, publicKey: Uint8Array): Uint8Array =>
  p256.getSharedSecret(secretKey, publicKey, true);

/** The x-coordinate of a compressed point, 32 bytes. */
export const xOf = (point: Uint8Array): Uint8Array => point.slice(1);

/** What a key pair shares with another one: the x-coordinate of {@link diffieHellman}, 32 bytes. */
export function sharedX(secretKey: Uint8Array, publicKey: Uint8Array): Uint8Array {
  const point = diffieHellman(secretKey, publicKey);
  try {
    return xOf(point);
  } finally {
    point.fill(0);
  }
}

// PrivateKeyInfo of P-256 without the public half (RFC 5208, RFC 5915): the scalar follows.
const PKCS8_PREFIX = hexToBytes('3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420');

/** A P-256 private key (32 bytes) as PKCS#8 without its public half, 67 bytes. */
export const pkcs8 = (scalar: Uint8Array): Uint8Array => concat(PKCS8_PREFIX, scalar);

/** Cuts a message into fields of the given lengths. @throws RangeError when the whole is not their sum */
export function split<const L extends readonly number[]>(
  message: Uint8Array,
  lengths: L,
): { [K in keyof L]: Uint8Array } {
  const total = lengths.reduce((sum, length) => sum + length, 0);
  if (message.length !== total)
    throw new RangeError(`a message of ${total} bytes was expected, not ${message.length}`);
  let at = 0;
  return lengths.map((length) => {
    at += length;
    return message.subarray(at - length, at);
  }) as { [K in keyof L]: Uint8Array };
}

/** Whether these 33 bytes are a point of the curve (never the identity, which has no such encoding). */
export function isElement(bytes: Uint8Array): boolean {
  try {
    p256.Point.fromBytes(bytes);
    return true;
  } catch {
    return false;
  }
}
