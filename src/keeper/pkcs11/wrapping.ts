import { createCipheriv, randomBytes } from 'node:crypto';
import pkcs11 from 'pkcs11js';
import { pkcs8 } from '../../protocol/index.js';
import { harden } from './attributes.js';
import type { Binding } from './binding.js';
import type { Keyring } from './keyring.js';
import { KEY_LABELS } from './labels.js';
import { accountKey, FIXED, newAccountKey, OID_P256, share, transportKey } from './templates.js';

/** A key pair whose private half is wrapped under `bkv.wrap`. Byte lengths: wrapped 80, publicKey 33 or 65. */
export interface WrappedKey {
  readonly wrapped: Uint8Array;
  readonly publicKey: Uint8Array;
}

export const KWP_IV = Buffer.from('a65959a6', 'hex');

/** Keys of accounts: the token makes them, and they are kept only wrapped under `bkv.wrap` (RFC 5649). */
export class Wrapping {
  readonly #binding: Binding;
  readonly #keyring: Keyring;
  readonly #importSecret = randomBytes(32);
  #importKey: pkcs11.Handle | undefined;
  /**
   * whether the module accepts CKA_EXTRACTABLE=true for a key that is unwrapped; some only have it as their
   * default
   */
  #saysExtractable = true;
  /** the template by which the module unwraps an account's key */
  #accountKey: pkcs11.Template | undefined;

  constructor(binding: Binding, keyring: Keyring) {
    this.#binding = binding;
    this.#keyring = keyring;
  }

  close(): void {
    this.#importSecret.fill(0);
    const importKey = this.#importKey;
    this.#importKey = undefined;
    try {
      // Some tokens keep what they were told to keep for the session only.
      if (importKey) this.#binding.destroy(importKey);
    } catch {
      // The session has ended, and its objects with it.
    }
  }

  /** As {@link generateWrapped}. */
  generate(): WrappedKey {
    return generateWrapped(this.#binding, this.#wrappingKey);
  }

  /** @returns a session object, to be destroyed after its use */
  unwrap(wrapped: Uint8Array): pkcs11.Handle {
    return this.#unwrapAccountKey(this.#wrappingKey, wrapped);
  }

  get #wrappingKey(): pkcs11.Handle {
    return this.#keyring.key(KEY_LABELS.wrap);
  }

  #unwrapAccountKey(wrappingKey: pkcs11.Handle, wrapped: Uint8Array): pkcs11.Handle {
    if (this.#accountKey) return this.#unwrap(wrappingKey, wrapped, this.#accountKey);
    const { made, template } = unwrapAccountKey(this.#binding, wrappingKey, wrapped);
    this.#accountKey = template;
    return made;
  }

  /**
   * Takes in a share that a client made; the host never sees it in clear.
   * @param transport the pair that the token made for this share
   * @param keyshare the client's point X, 65 bytes: the AES-256 key that wraps the share is x(E·X)
   * @param wrappedShare a P-256 key, PKCS#8 under that key (RFC 5649), 80 bytes
   * @returns the share under `bkv.wrap`, 80 bytes
   */
  importShare(transport: WrappedKey, keyshare: Uint8Array, wrappedShare: Uint8Array): Uint8Array {
    const binding = this.#binding;
    return binding.using(this.unwrap(transport.wrapped), (pair) =>
      binding.using(this.#agree(pair, keyshare), (aes) =>
        binding.using(this.#unwrapShare(aes, wrappedShare), (key) => this.#wrap(key)),
      ),
    );
  }

  #agree(pair: pkcs11.Handle, point: Uint8Array): pkcs11.Handle {
    return this.#binding.agree(pair, point, transportKey);
  }

  #unwrapShare(aes: pkcs11.Handle, wrapped: Uint8Array): pkcs11.Handle {
    if (!this.#saysExtractable) return this.#unwrap(aes, wrapped, share(false));
    try {
      return this.#unwrap(aes, wrapped, share(true));
    } catch (error) {
      if ((error as pkcs11.Pkcs11Error).code !== pkcs11.CKR_ATTRIBUTE_READ_ONLY) throw error;
      this.#saysExtractable = false;
      return this.#unwrap(aes, wrapped, share(false));
    }
  }

  /**
   * Imports a scalar of the host (32 bytes) in the same way as a stored key, so that both cost the same.
   * @returns as {@link unwrap}
   */
  importScalar(scalar: Uint8Array): pkcs11.Handle {
    this.#importKey ??= this.#binding.p11.C_CreateObject(this.#binding.session, [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
      { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
      { type: pkcs11.CKA_TOKEN, value: false },
      { type: pkcs11.CKA_VALUE, value: this.#importSecret },
      { type: pkcs11.CKA_UNWRAP, value: true },
    ]);
    return this.#unwrapAccountKey(this.#importKey, wrapScalar(scalar, this.#importSecret));
  }

  #wrap(key: pkcs11.Handle): Uint8Array {
    return wrap(this.#binding, this.#wrappingKey, key);
  }

  #unwrap(wrappingKey: pkcs11.Handle, wrapped: Uint8Array, template: pkcs11.Template): pkcs11.Handle {
    const { p11, session, keyWrap } = this.#binding;
    return p11.C_UnwrapKey(session, keyWrap, wrappingKey, Buffer.from(wrapped), template);
  }
}

/** Makes a P-256 pair in the module. @returns its private half wrapped, and the public half of 65 bytes */
export function generateWrapped(binding: Binding, wrappingKey: pkcs11.Handle): WrappedKey {
  const { privateKey, publicKey } = binding.p11.C_GenerateKeyPair(
    binding.session,
    { mechanism: pkcs11.CKM_EC_KEY_PAIR_GEN },
    [
      { type: pkcs11.CKA_TOKEN, value: false },
      { type: pkcs11.CKA_EC_PARAMS, value: OID_P256 },
    ],
    newAccountKey,
  );
  return binding.using(privateKey, (key) =>
    binding.using(publicKey, (half) => ({
      wrapped: wrap(binding, wrappingKey, key),
      publicKey: binding.pointOf(half),
    })),
  );
}

const wrap = (
  { p11, session, keyWrap }: Binding,
  wrappingKey: pkcs11.Handle,
  key: pkcs11.Handle,
): Uint8Array => Uint8Array.from(p11.C_WrapKey(session, keyWrap, wrappingKey, key, Buffer.alloc(256)));

/**
 * @returns an account's key as a session object, to be destroyed after its use, and the template that was
 * used
 */
export const unwrapAccountKey = (
  { p11, session, keyWrap }: Binding,
  wrappingKey: pkcs11.Handle,
  wrapped: Uint8Array,
): { made: pkcs11.Handle; template: pkcs11.Template } =>
  harden(accountKey, FIXED, (template) =>
    p11.C_UnwrapKey(session, keyWrap, wrappingKey, Buffer.from(wrapped), template),
  );

/** A P-256 private key as PKCS#8, wrapped under an AES-256 key that the host has (RFC 5649): 80 bytes. */
export function wrapScalar(scalar: Uint8Array, key: Uint8Array): Uint8Array {
  const cipher = createCipheriv('id-aes256-wrap-pad', key, KWP_IV);
  return Buffer.concat([cipher.update(pkcs8(scalar)), cipher.final()]);
}
