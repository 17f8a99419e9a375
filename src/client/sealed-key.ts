import { VaultError } from './errors.js';

const KEY_INFO = new TextEncoder().encode('bkv encrypted backup key v1');
const NONCE = 12;

async function keyEncryptionKey(exportKey: Uint8Array): Promise<CryptoKey> {
  try {
    const base = await crypto.subtle.importKey('raw', exportKey as BufferSource, 'HKDF', false, [
      'deriveKey',
    ]);
    return await crypto.subtle.deriveKey(
      { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(0), info: KEY_INFO },
      base,
      { name: 'AES-GCM', length: 256 },
      false,
      ['encrypt', 'decrypt'],
    );
  } finally {
    exportKey.fill(0);
  }
}

/** Encrypts a backup key (32 bytes) under the export key (32 bytes, zeroed): nonce 12 ‖ ciphertext 32 ‖ tag 16. */
export async function sealKey(exportKey: Uint8Array, backupKey: Uint8Array): Promise<Uint8Array> {
  const key = await keyEncryptionKey(exportKey);
  const iv = crypto.getRandomValues(new Uint8Array(NONCE));
  const encrypted = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, backupKey as BufferSource);
  return Uint8Array.from([...iv, ...new Uint8Array(encrypted)]);
}

/**
 * Opens what {@link sealKey} made. @param exportKey 32 bytes, zeroed
 * @throws VaultError when it was sealed under another key or was changed
 */
export async function openKey(exportKey: Uint8Array, sealed: Uint8Array): Promise<Uint8Array> {
  const key = await keyEncryptionKey(exportKey);
  const iv = sealed.subarray(0, NONCE) as BufferSource;
  try {
    return new Uint8Array(
      await crypto.subtle.decrypt({ name: 'AES-GCM', iv }, key, sealed.subarray(NONCE) as BufferSource),
    );
  } catch (error) {
    throw new VaultError(200, 'the vault gave a key that this password did not encrypt', { cause: error });
  }
}
