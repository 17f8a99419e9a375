import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';

/** SHA-256, and HMAC with it (RFC 2104): 32 bytes each. */
export interface Hashing {
  hash(data: Uint8Array): Uint8Array;
  mac(key: Uint8Array, data: Uint8Array): Uint8Array;
}

/** For browsers, which have these only behind promises. */
export const portable: Hashing = { hash: sha256, mac: (key, data) => hmac(sha256, key, data) };

/** Node's own, which a keeper's main thread has a third of the work with; `undefined` where this is no Node, or an old one. */
export const native: Hashing | undefined = nodes(globalThis.process?.getBuiltinModule?.('node:crypto'));

function nodes(crypto: typeof import('node:crypto') | undefined): Hashing | undefined {
  // A plain array: what a Buffer's slice() gives is no copy.
  const plain = ({ buffer, byteOffset, length }: Buffer) =>
    new Uint8Array(buffer as ArrayBuffer, byteOffset, length);
  return (
    crypto && {
      hash: (data) => plain(crypto.createHash('sha256').update(data).digest()),
      mac: (key, data) => plain(crypto.createHmac('sha256', key).update(data).digest()),
    }
  );
}
