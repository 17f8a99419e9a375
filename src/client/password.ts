import { argon2id } from 'hash-wasm';
import type { Stretch } from '../opaque/index.js';
import { BkvError } from './errors.js';

/** The bytes of a password as RFC 8265 OpaqueString prepares them. @throws BkvError `EmptyPassword` */
export function preparePassword(password: string): Uint8Array {
  if (password.length === 0) throw new BkvError('EmptyPassword', 'the password is empty');
  return new TextEncoder().encode(password.replace(/\p{Zs}/gu, ' ').normalize('NFC'));
}

/** Argon2id with RFC 9106's second recommended parameters: 3 passes, 64 MiB, 4 lanes. Fixed, so no vault can weaken it. */
export const stretch: Stretch = (oprfOutput) =>
  argon2id({
    password: oprfOutput,
    salt: new Uint8Array(16),
    iterations: 3,
    memorySize: 65_536,
    parallelism: 4,
    hashLength: 32,
    outputType: 'binary',
  });
