import { bytesToHex, randomBytes } from '@noble/hashes/utils.js';
import { BackupError } from './errors.js';

export const text = (plain: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(plain);

/** @param bytes how many, twice as many digits */
export const randomHex = (bytes: number): string => bytesToHex(randomBytes(bytes));

export function toBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replace(/\+/g, '-')
    .replace(/\//g, '_')
    .replace(/=+$/, '');
}

/** @throws BackupError when it is no base64url, or of another length */
export function fromBase64(encoded: unknown, length?: number): Uint8Array {
  if (typeof encoded === 'string' && /^[\w-]*$/.test(encoded)) {
    const plain = atob(encoded.replace(/-/g, '+').replace(/_/g, '/'));
    const bytes = Uint8Array.from(plain, (char) => char.charCodeAt(0));
    if (length === undefined || bytes.length === length) return bytes;
  }
  throw new BackupError('a key of the backup is damaged');
}

/** @throws BackupError when it is no JSON object */
export function parseObject(bytes: Uint8Array, what: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch {}
  throw new BackupError(`${what} is damaged`);
}
