import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';

/** SHA-256, and HMAC with it (RFC 2104): 32 bytes each. */
export interface Hashing {
  hash(data: Uint8Array): Uint8Array;
  mac(key: Uint8Array, data: Uint8Array): Uint8Array;
}

/** For browsers, whose own functions are asynchronous. */
export const portable: Hashing = { hash: sha256, mac: (key, data) => hmac(sha256, key, data) };

/** The part of `node:crypto` that is used: the client's package is compiled without Node's types. */
interface NodeCrypto {
  createHash(name: string): Digesting;
  createHmac(name: string, key: Uint8Array): Digesting;
}
interface Digesting {
  update(data: Uint8Array): { digest(): Uint8Array };
}

const { process } = globalThis as { process?: { getBuiltinModule?(name: string): unknown } };

/**
 * Node's own functions, which take a keeper's main thread a third of the time; `undefined` in a browser, and
 * in an old Node.
 */
export const native = nodes(process?.getBuiltinModule?.('node:crypto') as NodeCrypto | undefined);

function nodes(crypto: NodeCrypto | undefined): Hashing | undefined {
  // A plain array, because a Buffer's slice() does not copy.
  const plain = ({ buffer, byteOffset, length }: Uint8Array) => new Uint8Array(buffer, byteOffset, length);
  return (
    crypto && {
      hash: (data) => plain(crypto.createHash('sha256').update(data).digest()),
      mac: (key, data) => plain(crypto.createHmac('sha256', key).update(data).digest()),
    }
  );
}
