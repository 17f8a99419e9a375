import { createCipheriv, hkdfSync } from 'node:crypto';
import { argon2 } from '../../src/client/index.js';
import { stretchOutput } from '../../src/client/stretching.js';

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
export const stretch = stretchOutput(argon2);

/** Random bytes r that give a wanted scalar: noble makes them the scalar (r mod (n-1)) + 1. */
export const forScalar =
  (scalar: Uint8Array) =>
  (n = 48): Uint8Array =>
    Buffer.from((BigInt(`0x${hex(scalar)}`) - 1n).toString(16).padStart(2 * n, '0'), 'hex');

/** Encodes the rows of a table in docs/protocol.md: each field after its length. */
export const fields = (...all: readonly Uint8Array[]): Uint8Array =>
  Buffer.concat(all.flatMap((field) => [Uint8Array.of(field.length >> 8, field.length & 255), field]));

/** The sealed backup key, computed by other code than the client's. */
export function sealed(exportKey: Uint8Array, nonce: Uint8Array, backupKey: Uint8Array) {
  const key = new Uint8Array(
    hkdfSync('sha256', exportKey, new Uint8Array(0), 'bkv encrypted backup key v1', 32),
  );
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  const encrypted = Buffer.concat([nonce, cipher.update(backupKey), cipher.final(), cipher.getAuthTag()]);
  return { keyEncryptionKey: hex(key), encryptedBackupKey: encrypted };
}
