import { createPublicKey } from 'node:crypto';
import pkcs11 from 'pkcs11js';
import type { Binding } from './binding.js';
import { TokenError } from './errors.js';
import { hmacKey } from './templates.js';

export const KEY_LABELS = {
  /** the vault's identity: a P-256 pair */
  static: 'bkv.static',
  /** wraps the key of every account (AES-256) */
  wrap: 'bkv.wrap',
  fake: 'bkv.fake',
  audit: 'bkv.audit',
  /** authenticates the ledger's objects */
  ledger: 'bkv.ledger',
  /** turns account names into what database and logs hold */
  names: 'bkv.names',
} as const;
export type KeyLabel = (typeof KEY_LABELS)[keyof typeof KEY_LABELS];

/** The public key of the token's backup, which its security officer trusts; in the backup token the whole pair. */
export const BACKUP_LABEL = 'bkv.backup';

/** SHA-1, since SoftHSM2 knows no other here; OAEP does not rest on its resistance to collisions (RFC 8017, B.1). */
export const OAEP = {
  mechanism: pkcs11.CKM_RSA_PKCS_OAEP,
  parameter: {
    type: pkcs11.CK_PARAMS_RSA_OAEP,
    hashAlg: pkcs11.CKM_SHA_1,
    mgf: pkcs11.CKG_MGF1_SHA1,
    source: 1,
  } as pkcs11.RsaOAEP,
};

const { CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_SECRET_KEY } = pkcs11;

/** The token's keys by their labels. C_FindObjects is linear in the token's objects, so handles are learned once. */
export class Keyring {
  readonly #binding: Binding;
  readonly #handles = new Map<string, pkcs11.Handle>();
  readonly #points = new Map<string, Uint8Array>();

  constructor(binding: Binding) {
    this.#binding = binding;
    for (const { objectClass, label, handle } of this.#all([CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_SECRET_KEY]))
      this.#handles.set(`${objectClass} ${label}`, handle);
  }

  /** @throws TokenError `BKV_KEY` when the token has none of that label */
  secret(label: string): pkcs11.Handle {
    return this.#key(label, CKO_SECRET_KEY);
  }

  /** @throws TokenError `BKV_KEY` when the token has none of that label */
  private(label: string): pkcs11.Handle {
    return this.#key(label, CKO_PRIVATE_KEY);
  }

  /** The point of a pair's public half, 65 bytes. */
  point(label: string): Uint8Array {
    const known = this.#points.get(label);
    if (known) return known;
    const point = this.#binding.pointOf(this.#key(label, CKO_PUBLIC_KEY));
    this.#points.set(label, point);
    return point;
  }

  /** HMAC-SHA-256, 32 bytes, in a buffer of its own. */
  hmac(label: string, data: Uint8Array): Uint8Array {
    return hmac(this.#binding, this.secret(label), data);
  }

  /** Every session must {@link learn} it. @returns its handle */
  generatePageKey(label: string): string {
    const { p11, session } = this.#binding;
    const handle = p11.C_GenerateKey(session, { mechanism: pkcs11.CKM_GENERIC_SECRET_KEY_GEN }, [
      ...hmacKey(label, { backedUp: this.#isBackedUp() }),
      { type: pkcs11.CKA_VALUE_LEN, value: 32 },
    ]);
    return handle.toString('hex');
  }

  /** Whether the token trusts the public key of a backup: keys can leave it under that key, and no other. */
  #isBackedUp(): boolean {
    const key = this.#handles.get(`${CKO_PUBLIC_KEY} ${BACKUP_LABEL}`);
    return key !== undefined && this.#binding.attribute(key, pkcs11.CKA_TRUSTED)[0] === 1;
  }

  /** A page's key under the public key of the token's backup (RSA-OAEP): 384 bytes. */
  wrapForBackup(label: string): Uint8Array {
    const { p11, session } = this.#binding;
    const backupKey = this.#key(BACKUP_LABEL, CKO_PUBLIC_KEY);
    return Uint8Array.from(p11.C_WrapKey(session, OAEP, backupKey, this.secret(label), Buffer.alloc(512)));
  }

  /** Hears of a secret key that another session made, or (without a handle) destroyed. */
  learn(label: string, handle?: string): void {
    const name = `${CKO_SECRET_KEY} ${label}`;
    if (handle) this.#handles.set(name, Buffer.from(handle, 'hex'));
    else this.#handles.delete(name);
  }

  /** The secret keys in the token now whose labels start with `prefix`. */
  listSecret(prefix: string): { label: string; handle: string }[] {
    return this.#all([CKO_SECRET_KEY])
      .filter(({ label }) => label.startsWith(prefix))
      .map(({ label, handle }) => ({ label, handle: handle.toString('hex') }));
  }

  /** Looks for a secret key in the token as it is now, and learns it. */
  find(label: string): boolean {
    const [handle] = this.#lookFor(label, CKO_SECRET_KEY);
    this.learn(label, handle?.toString('hex'));
    return handle !== undefined;
  }

  /** Destroys every key of the token whose label starts with `prefix`. */
  destroyAll(prefix: string): void {
    for (const { label, handle } of this.#all([CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_SECRET_KEY]))
      if (label.startsWith(prefix)) this.#binding.destroy(handle);
  }

  #key(label: string, objectClass: number): pkcs11.Handle {
    const name = `${objectClass} ${label}`;
    let handle = this.#handles.get(name);
    if (!handle) {
      // Another session made it, whose handles mean nothing here; or the cluster has copied it meanwhile.
      [handle] = this.#lookFor(label, objectClass);
      if (handle) this.#handles.set(name, handle);
    }
    if (!handle) throw new TokenError(`the token holds no key named ${label}`, 'BKV_KEY');
    return handle;
  }

  #lookFor(label: string, objectClass: number): pkcs11.Handle[] {
    return this.#binding.find([
      { type: pkcs11.CKA_CLASS, value: objectClass },
      { type: pkcs11.CKA_TOKEN, value: true },
      ...(objectClass === CKO_PUBLIC_KEY ? [] : [{ type: pkcs11.CKA_PRIVATE, value: true }]),
      { type: pkcs11.CKA_LABEL, value: label },
    ]);
  }

  #all(objectClasses: readonly number[]) {
    return objectClasses.flatMap((objectClass) =>
      this.#binding
        .find([
          { type: pkcs11.CKA_CLASS, value: objectClass },
          { type: pkcs11.CKA_TOKEN, value: true },
          ...(objectClass === CKO_PUBLIC_KEY ? [] : [{ type: pkcs11.CKA_PRIVATE, value: true }]),
        ])
        .map((handle) => ({ objectClass, label: this.#binding.labelOf(handle), handle })),
    );
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
