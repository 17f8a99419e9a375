import { argon2id } from 'hash-wasm';
import type { Stretch } from '../protocol/index.js';
import { BkvError } from './errors.js';

/** Controls, unassigned code points, halves of surrogate pairs, and characters that nobody sees (RFC 8264, FreeformClass). */
const REFUSED = /[\p{Cc}\p{Cn}\p{Cs}\p{Default_Ignorable_Code_Point}]/u;

/**
 * The bytes of a password as RFC 8265 OpaqueString prepares them: any space becomes a plain one, composed by NFC. The
 * same password typed on another keyboard thus opens.
 * @throws BkvError `EmptyPassword`; `InvalidPassword` for a character that cannot be typed again with certainty
 */
export function preparePassword(password: string): Uint8Array {
  if (password.length === 0) throw new BkvError('EmptyPassword', 'the password is empty');
  const prepared = password.replace(/\p{Zs}/gu, ' ').normalize('NFC');
  const [refused] = REFUSED.exec(prepared) ?? [];
  if (refused !== undefined) {
    const code = (refused.codePointAt(0) as number).toString(16).toUpperCase().padStart(4, '0');
    throw new BkvError(
      'InvalidPassword',
      `the password holds U+${code}, which is invisible or not a character`,
    );
  }
  return new TextEncoder().encode(prepared);
}

/**
 * Argon2id with RFC 9106's second recommended parameters: 3 passes, 64 MiB, 4 lanes. Fixed, so no vault can weaken it.
 * @param salt 16 bytes
 */
export const argon2 = (password: Uint8Array, salt: Uint8Array): Promise<Uint8Array> =>
  argon2id({
    password,
    salt,
    iterations: 3,
    memorySize: 65_536,
    parallelism: 4,
    hashLength: 32,
    outputType: 'binary',
  });

/** Key stretching of OPAQUE (RFC 9807, section 7): with a salt of zeros, since the OPRF's output is each account's own. */
export const stretch: Stretch = (oprfOutput) => argon2(oprfOutput, new Uint8Array(16));
