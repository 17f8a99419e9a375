import { bytesToHex, randomBytes } from '@noble/hashes/utils.js';
import { parseBase64url, toBase64url } from '../protocol/terms.js';
import { BackupError } from './errors.js';

export const text = (plain: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(plain);

/** @param bytes how many; the result has twice as many digits */
export const randomHex = (bytes: number): string => bytesToHex(randomBytes(bytes));

export { toBase64url };

/** @throws BackupError when it is not base64url, or has another length */
export function fromBase64url(encoded: unknown, length?: number): Uint8Array<ArrayBuffer> {
  const bytes = parseBase64url(encoded);
  if (!bytes || (length !== undefined && bytes.length !== length))
    throw new BackupError('a key of the backup is damaged');
  return bytes;
}

/** @throws BackupError when it is not a JSON object */
export function parseObject(bytes: Uint8Array, what: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch {}
  throw new BackupError(`${what} is damaged`);
}
