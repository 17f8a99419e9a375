/** Bytes of plaintext in a full part. */
export const PART_BYTES = 4 * 1024 * 1024;

/** By how many bytes a sealed part is longer than its plaintext. */
export const TAG_BYTES = 16;

export const NONCE_BYTES = 12;

/**
 * Cryptography on whole parts. Browsers use WebCrypto; a program with threads supplies its own. The caller
 * must not use a buffer again after passing it here.
 */
export interface Cipher {
  /** Memory for a part and its tag. */
  buffer(): Uint8Array;
  /** SHA-256, 32 bytes. */
  digest(plaintext: Uint8Array): Promise<Uint8Array>;
  /**
   * AES-256-GCM with a nonce of zeros. @param key 32 bytes, used for this one plaintext @param about
   * associated data
   */
  seal(key: Uint8Array, about: Uint8Array, plaintext: Uint8Array): Promise<Uint8Array>;
  /**
   * Seals into an open file, if there are files: writing data that is still in the processor's cache costs
   * half.
   * @throws what the system refuses
   */
  sealInto?(file: number, key: Uint8Array, about: Uint8Array, plaintext: Uint8Array): Promise<void>;
  /** @returns `undefined` when the tag is wrong */
  open(key: Uint8Array, about: Uint8Array, sealed: Uint8Array): Promise<Uint8Array | undefined>;
}

type Bytes = Uint8Array<ArrayBuffer>;
const { subtle } = globalThis.crypto;
const importKey = (key: Uint8Array, use: 'encrypt' | 'decrypt') =>
  subtle.importKey('raw', key as Bytes, 'AES-GCM', false, [use]);
const parameters = (iv: Uint8Array, about: Uint8Array) => ({
  name: 'AES-GCM',
  iv: iv as Bytes,
  additionalData: about as Bytes,
});

/** AES-256-GCM. @param iv 12 bytes, once for each key */
export async function seal(key: Uint8Array, iv: Uint8Array, about: Uint8Array, plaintext: Uint8Array) {
  const secret = await importKey(key, 'encrypt');
  return new Uint8Array(await subtle.encrypt(parameters(iv, about), secret, plaintext as Bytes));
}

/** @returns `undefined` when the tag is wrong */
export async function open(key: Uint8Array, iv: Uint8Array, about: Uint8Array, sealed: Uint8Array) {
  const secret = await importKey(key, 'decrypt');
  try {
    return new Uint8Array(await subtle.decrypt(parameters(iv, about), secret, sealed as Bytes));
  } catch {
    return undefined;
  }
}

const ZEROS = new Uint8Array(NONCE_BYTES);

export const webCipher: Cipher = {
  buffer: () => new Uint8Array(PART_BYTES + TAG_BYTES),
  digest: async (plaintext) => new Uint8Array(await subtle.digest('SHA-256', plaintext as Bytes)),
  seal: (key, about, plaintext) => seal(key, ZEROS, about, plaintext),
  open: (key, about, sealed) => open(key, ZEROS, about, sealed),
};
