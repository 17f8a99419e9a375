import { createDecipheriv, createECDH, randomBytes } from 'node:crypto';
import pkcs11 from 'pkcs11js';
import type { Binding } from '../binding.js';
import { KWP_IV } from '../wrapping.js';

/** Whether a call succeeds: if the module refuses it, or its result is worthless, the insider gets no key. */
export function succeeds(call: () => unknown): boolean {
  try {
    return call() !== false;
  } catch {
    return false;
  }
}

/**
 * Does something with a secret of the insider, 32 bytes, that the module holds as a key which may be wrapped.
 */
export function withOwnKey<T>(binding: Binding, use: (key: pkcs11.Handle) => T): T {
  const own = binding.p11.C_CreateObject(binding.session, [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
    { type: pkcs11.CKA_TOKEN, value: false },
    { type: pkcs11.CKA_VALUE, value: randomBytes(32) },
    { type: pkcs11.CKA_EXTRACTABLE, value: true },
  ]);
  return binding.using(own, use);
}

/**
 * Whether the private key of a public key (65 bytes) can be taken from an object, either by reading its value
 * or by wrapping it under a key of the host. The result is compared with the public key; attributes are not
 * believed.
 */
export const isCarriedAway = (binding: Binding, handle: pkcs11.Handle, publicKey: Uint8Array): boolean =>
  [() => binding.attribute(handle, pkcs11.CKA_VALUE), () => wrapAway(binding, handle)].some((way) =>
    succeeds(() => holdsPrivateKey(way(), publicKey)),
  );

/**
 * Wraps an object under an AES-256 key of the host (the module's mechanism for RFC 5649), and unwraps it in
 * the open.
 */
export function wrapAway(binding: Binding, handle: pkcs11.Handle): Buffer {
  const { p11, session, keyWrap } = binding;
  const secret = randomBytes(32);
  const own = p11.C_CreateObject(session, [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
    { type: pkcs11.CKA_TOKEN, value: false },
    { type: pkcs11.CKA_VALUE, value: secret },
    { type: pkcs11.CKA_WRAP, value: true },
  ]);
  const wrapped = binding.using(own, (key) =>
    p11.C_WrapKey(session, keyWrap, key, handle, Buffer.alloc(4096)),
  );
  const cipher = createDecipheriv('id-aes256-wrap-pad', secret, KWP_IV);
  return Buffer.concat([cipher.update(wrapped), cipher.final()]);
}

/** Whether 32 consecutive bytes of these are the scalar of the public key. */
function holdsPrivateKey(bytes: Buffer, publicKey: Uint8Array): boolean {
  for (let i = 0; i + 32 <= bytes.length; i++) {
    const pair = createECDH('prime256v1');
    const isScalar = succeeds(() => pair.setPrivateKey(bytes.subarray(i, i + 32)));
    if (isScalar && pair.getPublicKey().equals(publicKey)) return true;
  }
  return false;
}
