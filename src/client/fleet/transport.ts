import { aeskwp } from '@noble/ciphers/aes.js';

export interface WrappedShare {
  /** a fresh AES-256 key under the member's RSA key, RSA-OAEP, 384 bytes */
  readonly transportKey: Uint8Array;
  /** the share as PKCS#8 under that AES key (RFC 5649), 80 bytes */
  readonly wrappedShare: Uint8Array;
}

// PKCS#8 of a P-256 key without its public half (RFC 5208, RFC 5915): the scalar follows.
const PKCS8_PREFIX = Uint8Array.from(
  '3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420'.match(/../g) as string[],
  (pair) => Number.parseInt(pair, 16),
);

/** Wraps a share (32 bytes) so that only the token unwraps it. @param transportPublicKey RSA, SubjectPublicKeyInfo */
export async function wrapShare(transportPublicKey: Uint8Array, scalar: Uint8Array): Promise<WrappedShare> {
  // SHA-1 as many tokens know no other here; OAEP does not rest on its resistance to collisions (RFC 8017, B.1).
  const rsa = await crypto.subtle.importKey(
    'spki',
    transportPublicKey as BufferSource,
    { name: 'RSA-OAEP', hash: 'SHA-1' },
    false,
    ['encrypt'],
  );
  const aes = crypto.getRandomValues(new Uint8Array(32));
  const pkcs8 = Uint8Array.from([...PKCS8_PREFIX, ...scalar]);
  try {
    const transportKey = new Uint8Array(await crypto.subtle.encrypt({ name: 'RSA-OAEP' }, rsa, aes));
    return { transportKey, wrappedShare: aeskwp(aes).encrypt(pkcs8) };
  } finally {
    for (const secret of [aes, pkcs8]) secret.fill(0);
  }
}
