import { createPublicKey } from 'node:crypto';
import pkcs11 from 'pkcs11js';
import { harden } from './attributes.js';
import type { Binding } from './binding.js';
import { TokenError } from './errors.js';
import { BACKUP_LABEL } from './labels.js';
import { findPageKey, listPageKeys, type PageKey, type PageKeyRules } from './page-keys.js';
import { FIXED, hmacKey } from './templates.js';

/**
 * SHA-1, because SoftHSM2 knows no other hash here. OAEP does not rely on its collision resistance (RFC 8017,
 * B.1).
 */
export const OAEP = {
  mechanism: pkcs11.CKM_RSA_PKCS_OAEP,
  parameter: {
    type: pkcs11.CK_PARAMS_RSA_OAEP,
    hashAlg: pkcs11.CKM_SHA_1,
    mgf: pkcs11.CKG_MGF1_SHA1,
    source: 1,
  } as pkcs11.RsaOAEP,
};

/** The keys that a session may use, by label: only those that were inspected. */
export interface SessionKeys {
  readonly keys: ReadonlyMap<string, pkcs11.Handle>;
  /** public halves of pairs, 65 bytes */
  readonly points: ReadonlyMap<string, Uint8Array>;
  /** the public key of the token's backup, which its security officer trusts */
  readonly backupKey: pkcs11.Handle | undefined;
  readonly pageKeyRules: PageKeyRules;
}

/** The token's keys by their labels. C_FindObjects is linear in the token's objects, so handles are learned once. */
export class Keyring {
  readonly #binding: Binding;
  readonly #handles: Map<string, pkcs11.Handle>;
  readonly #points: ReadonlyMap<string, Uint8Array>;
  readonly #backupKey: pkcs11.Handle | undefined;
  readonly #rules: PageKeyRules;

  constructor(binding: Binding, { keys, points, backupKey, pageKeyRules }: SessionKeys) {
    this.#binding = binding;
    this.#handles = new Map(keys);
    this.#points = points;
    this.#backupKey = backupKey;
    this.#rules = pageKeyRules;
  }

  /** A secret or private key. @throws TokenError `BKV_KEY` when the token has none of that label */
  key(label: string): pkcs11.Handle {
    // Either another session made this page's key, and its handles mean nothing here, or the cluster has
    // copied the key meanwhile.
    if (!this.#handles.has(label)) this.find(label);
    const handle = this.#handles.get(label);
    if (!handle) throw new TokenError(`the token holds no key named ${label}`, 'BKV_KEY');
    return handle;
  }

  /** The point of a pair's public half, 65 bytes. */
  point(label: string): Uint8Array {
    const point = this.#points.get(label);
    if (!point) throw new TokenError(`the token holds no key named ${label}`, 'BKV_KEY');
    return point;
  }

  /** HMAC-SHA-256, 32 bytes, in its own buffer. */
  hmac(label: string, data: Uint8Array): Uint8Array {
    return hmac(this.#binding, this.key(label), data);
  }

  /** Makes a page's key, which every session must {@link learn}. @returns its handle */
  generatePageKey(label: string): string {
    const { p11, session } = this.#binding;
    const { made } = harden(
      [
        ...hmacKey(label, { backedUp: this.#backupKey !== undefined }),
        { type: pkcs11.CKA_VALUE_LEN, value: 32 },
      ],
      FIXED,
      (template) => p11.C_GenerateKey(session, { mechanism: pkcs11.CKM_GENERIC_SECRET_KEY_GEN }, template),
    );
    return made.toString('hex');
  }

  /** A page's key under the public key of the token's backup (RSA-OAEP): 384 bytes. */
  wrapForBackup(label: string): Uint8Array {
    const { p11, session } = this.#binding;
    if (!this.#backupKey) throw new TokenError(`the token trusts no key named ${BACKUP_LABEL}`, 'BKV_KEY');
    return Uint8Array.from(p11.C_WrapKey(session, OAEP, this.#backupKey, this.key(label), Buffer.alloc(512)));
  }

  /** Learns about a page's key that another session made or, without a handle, destroyed. */
  learn(label: string, handle?: string): void {
    if (handle) this.#handles.set(label, Buffer.from(handle, 'hex'));
    else this.#handles.delete(label);
  }

  /** The keys of pages in the token now: those whose labels start with `prefix`. */
  listPageKeys(prefix: string): PageKey[] {
    return listPageKeys(this.#binding, this.#rules, prefix);
  }

  /** Destroys every key of a page that has this label. */
  destroyPageKey(label: string): void {
    for (const handle of findPageKey(this.#binding, this.#rules, label)?.handles ?? [])
      this.#binding.destroy(Buffer.from(handle, 'hex'));
    this.learn(label);
  }

  /** Looks for a page's key in the token as it is now, and learns it. */
  find(label: string): boolean {
    const key = findPageKey(this.#binding, this.#rules, label);
    this.learn(label, key?.fault === undefined ? key?.handles[0] : undefined);
    return key !== undefined;
  }
}

/** HMAC-SHA-256, 32 bytes, in a buffer of its own. */
export function hmac({ p11, session }: Binding, key: pkcs11.Handle, data: Uint8Array): Uint8Array {
  p11.C_SignInit(session, { mechanism: pkcs11.CKM_SHA256_HMAC }, key);
  const mac = p11.C_Sign(session, Buffer.from(data), Buffer.alloc(32));
  if (mac.length !== 32)
    throw new TokenError(`an HMAC of the token has ${mac.length} bytes instead of 32`, 'BKV_HMAC');
  return mac;
}

/** An RSA public key as SubjectPublicKeyInfo (DER). */
export function rsaSpki(modulus: Buffer, publicExponent: Buffer): Buffer {
  const jwk = { kty: 'RSA', n: modulus.toString('base64url'), e: publicExponent.toString('base64url') };
  return createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'der' });
}
