import { createCipheriv, createECDH, createPublicKey, randomBytes } from 'node:crypto';
import pkcs11 from 'pkcs11js';
import { InvalidPoint, TokenError } from './errors.js';
import { findSlot, initialize, login } from './login.js';
import { compress, type Multiplicand, multiply, type PublicPoint, prepare } from './point.js';
import type { Profile } from './profile.js';

/** A P-256 private key that a scalar multiplication uses. Byte lengths: scalar 32, publicKey 33 or 65, wrapped 80. */
export type PrivateKey =
  /** a key pair that lies in the token */
  | { readonly label: string }
  /** a key wrapped under a token key (RFC 5649): unwrapped into a session object for this one use */
  | { readonly wrapped: Uint8Array; readonly wrappingKey: string; readonly publicKey: Uint8Array }
  /** a scalar that is not secret from the host (fake records, test vectors): takes the same calls as a wrapped key */
  | { readonly scalar: Uint8Array };

export interface DataObject {
  readonly handle: string;
  readonly label: string;
  readonly value: Uint8Array;
}

/** The data object that shows who writes; its value is random. */
export type Writer = Pick<DataObject, 'handle' | 'value'>;

/** What a client's login brings to be multiplied: elements of 33 bytes, or of 65 when they were decompressed before. */
export interface LoginElements {
  readonly blindedElement: Uint8Array;
  readonly clientKeyshare: Uint8Array;
  readonly clientPublicKey: Uint8Array;
}

export const KEY_LABELS = {
  static: 'bkv.static',
  record: 'bkv.record',
  fake: 'bkv.fake',
  audit: 'bkv.audit',
  /** authenticates the ledger's objects */
  ledger: 'bkv.ledger',
  /** turns account names into what database and logs hold */
  names: 'bkv.names',
  transport: 'bkv.transport',
} as const;
/** The public key of the token's backup, which its security officer trusts; in the backup token the whole pair. */
export const BACKUP_LABEL = 'bkv.backup';
export type KeyLabel = (typeof KEY_LABELS)[keyof typeof KEY_LABELS];

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

const CKS_RW_USER_FUNCTIONS = 3;
/** RFC 5649, since PKCS#11 3.1; modules without it mean the same by CKM_AES_KEY_WRAP_PAD, those with it another padding. */
const CKM_AES_KEY_WRAP_KWP = 0x210b;
/** CKA_APPLICATION of the vault's data objects. */
export const APPLICATION = 'bkv';
const KEY_CLASSES = [pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_SECRET_KEY];
const OID_P256 = Buffer.from('06082a8648ce3d030107', 'hex');
// PKCS#8 PrivateKeyInfo of a P-256 key without its public half (RFC 5208, RFC 5915): the scalar follows.
const PKCS8_PREFIX = Buffer.from(
  '304102010030 1306072a8648ce3d020106082a8648ce3d030107 0427302502010104 20'.replaceAll(' ', ''),
  'hex',
);
const KWP_IV = Buffer.from('a65959a6', 'hex');

/** One logged-in PKCS#11 session: the calls of the hot path, each whole in itself. Lives on a worker thread. */
export class Session {
  readonly #p11: pkcs11.PKCS11;
  readonly #epoch: number;
  readonly #session: pkcs11.Handle;
  readonly #handles = new Map<string, pkcs11.Handle>();
  readonly #publicKeys = new Map<string, Uint8Array>();
  readonly #importSecret = randomBytes(32);
  readonly #keyWrap: number;
  readonly #onStandby: boolean;
  #importKey: pkcs11.Handle | undefined;
  /** whether the module takes CKA_EXTRACTABLE=true for a key that is unwrapped; some only have it as their default */
  #saysExtractable = true;

  /**
   * @param epoch grows with every C_Initialize of the process; handles of data objects are good in one of them only
   * @param onStandby whether keys may appear in the token by themselves, as its cluster copies them
   * @throws TokenError when module, token or login fails; ProfileError when there is no PIN
   */
  constructor(profile: Profile, epoch = 0, onStandby = false) {
    this.#epoch = epoch;
    this.#onStandby = onStandby;
    this.#p11 = new pkcs11.PKCS11();
    this.#p11.load(profile.module);
    initialize(this.#p11, profile);
    const slot = findSlot(this.#p11, profile);
    this.#session = this.#p11.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION);
    this.#keyWrap = keyWrapOf(profile, this.#p11, slot);
    if (!this.alive) login(this.#p11, this.#session, slot, profile);
    this.#loadKeys();
  }

  /** Whether the session is there and logged in. */
  get alive(): boolean {
    try {
      return this.#p11.C_GetSessionInfo(this.#session).state === CKS_RW_USER_FUNCTIONS;
    } catch {
      return false;
    }
  }

  /** @throws TokenError when the session is of no use any more */
  probe(): void {
    if (!this.alive) throw new TokenError('the session has ended', 'BKV_CLOSED');
  }

  close(): void {
    this.#importSecret.fill(0);
    try {
      this.#p11.C_CloseSession(this.#session);
    } catch {
      // It had ended already.
    }
  }

  /** Ends the module for the whole process: the next session finds it as it is then. */
  static finalize({ module }: Profile): void {
    const p11 = new pkcs11.PKCS11();
    p11.load(module);
    try {
      p11.C_Finalize();
    } catch {
      // It was not initialized, or has lost its device: C_Initialize tells.
    }
  }

  /** k·M, 33 bytes, with k never outside the module (RFC 9497, section 3.3.1 BlindEvaluate). @throws InvalidPoint */
  multiply(key: PrivateKey, element: Uint8Array): Uint8Array {
    const { multiplicands, publicPoints } = prepare([element], [this.#publicKeyOf(key)]);
    return this.#multiply(key, publicPoints[0], multiplicands[0]);
  }

  /**
   * Every scalar multiplication of a login's answer (RFC 9807, section 6.2.2), 33 bytes each. The server's keyshare
   * is a key pair that exists for this call only, in the host's memory.
   * @param keyshareSecret the keyshare's scalar, 32 bytes, for test vectors
   * @throws InvalidPoint before any of them is done
   */
  login(oprfKey: PrivateKey, serverKey: PrivateKey, elements: LoginElements, keyshareSecret?: Uint8Array) {
    const ecdh = createECDH('prime256v1');
    if (keyshareSecret) ecdh.setPrivateKey(keyshareSecret);
    else ecdh.generateKeys();
    const {
      multiplicands: [blindedElement, clientKeyshare, clientPublicKey],
      publicPoints: [keysharePoint, oprfPoint, serverPoint],
    } = prepare(
      [elements.blindedElement, elements.clientKeyshare, elements.clientPublicKey],
      [ecdh.getPublicKey(), this.#publicKeyOf(oprfKey), this.#publicKeyOf(serverKey)],
    );
    const diffieHellman = (peer: Multiplicand) => multiply((p) => ecdh.computeSecret(p), keysharePoint, peer);
    return {
      evaluatedElement: this.#multiply(oprfKey, oprfPoint, blindedElement),
      serverKeyshare: Uint8Array.from(ecdh.getPublicKey(null, 'compressed')),
      dh1: diffieHellman(clientKeyshare),
      dh2: this.#multiply(serverKey, serverPoint, clientKeyshare),
      dh3: diffieHellman(clientPublicKey),
    };
  }

  #publicKeyOf(key: PrivateKey): Uint8Array {
    if ('label' in key) return this.#publicKey(key.label);
    return 'wrapped' in key ? key.publicKey : publicKeyOf(key.scalar);
  }

  #multiply(key: PrivateKey, publicPoint: PublicPoint, multiplicand: Multiplicand): Uint8Array {
    const deriveX = (handle: pkcs11.Handle) =>
      multiply((p) => this.#deriveX(handle, p), publicPoint, multiplicand);
    if ('label' in key) return deriveX(this.#key(key.label, pkcs11.CKO_PRIVATE_KEY));
    const handle =
      'wrapped' in key
        ? this.#unwrap(this.#key(key.wrappingKey, pkcs11.CKO_SECRET_KEY), key.wrapped)
        : this.#import(key.scalar);
    try {
      return deriveX(handle);
    } finally {
      this.#p11.C_DestroyObject(this.#session, handle);
    }
  }

  /** Makes a P-256 key pair in the module and wraps its private half: 80 bytes. The public half has 65. */
  generateWrapped(wrappingKey: string): { wrapped: Uint8Array; publicKey: Uint8Array } {
    const pair = this.#p11.C_GenerateKeyPair(
      this.#session,
      { mechanism: pkcs11.CKM_EC_KEY_PAIR_GEN },
      [
        { type: pkcs11.CKA_TOKEN, value: false },
        { type: pkcs11.CKA_EC_PARAMS, value: OID_P256 },
      ],
      [
        { type: pkcs11.CKA_TOKEN, value: false },
        { type: pkcs11.CKA_PRIVATE, value: true },
        { type: pkcs11.CKA_SENSITIVE, value: true },
        { type: pkcs11.CKA_EXTRACTABLE, value: true },
        { type: pkcs11.CKA_DERIVE, value: true },
      ],
    );
    try {
      return { wrapped: this.#wrap(wrappingKey, pair.privateKey), publicKey: this.#ecPoint(pair.publicKey) };
    } finally {
      this.#p11.C_DestroyObject(this.#session, pair.privateKey);
      this.#p11.C_DestroyObject(this.#session, pair.publicKey);
    }
  }

  /**
   * Takes in a key that a client made and wrapped for this token, and wraps it as {@link generateWrapped} does: the
   * host sees neither of the two in clear.
   * @param transportKey an AES-256 key under the token's transport key (RSA-OAEP, 384 bytes)
   * @param wrappedShare a P-256 key, PKCS#8 under that AES key (RFC 5649, 80 bytes)
   * @returns 80 bytes
   */
  importWrapped(
    transportKey: Uint8Array,
    wrappedShare: Uint8Array,
    wrappingKey: string,
    label: string = KEY_LABELS.transport,
  ): Uint8Array {
    const aes = this.#p11.C_UnwrapKey(
      this.#session,
      OAEP,
      this.#key(label, pkcs11.CKO_PRIVATE_KEY),
      Buffer.from(transportKey),
      [
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
        { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
        { type: pkcs11.CKA_TOKEN, value: false },
        { type: pkcs11.CKA_SENSITIVE, value: true },
        { type: pkcs11.CKA_EXTRACTABLE, value: false },
        { type: pkcs11.CKA_UNWRAP, value: true },
      ],
    );
    try {
      const share = this.#unwrap(aes, wrappedShare, true);
      try {
        return this.#wrap(wrappingKey, share);
      } finally {
        this.#p11.C_DestroyObject(this.#session, share);
      }
    } finally {
      this.#p11.C_DestroyObject(this.#session, aes);
    }
  }

  /** Moves a wrapped key (80 bytes) from one wrapping key to another; the host sees neither. @returns 80 bytes */
  rewrap(wrapped: Uint8Array, from: string, to: string): Uint8Array {
    const key = this.#unwrap(this.#key(from, pkcs11.CKO_SECRET_KEY), wrapped, true);
    try {
      return this.#wrap(to, key);
    } finally {
      this.#p11.C_DestroyObject(this.#session, key);
    }
  }

  /** The key that shares are wrapped for: RSA, SubjectPublicKeyInfo (DER). */
  transportPublicKey(label: string = KEY_LABELS.transport): Uint8Array {
    const key = this.#key(label, pkcs11.CKO_PUBLIC_KEY);
    return rsaSpki(
      this.#attribute(key, pkcs11.CKA_MODULUS),
      this.#attribute(key, pkcs11.CKA_PUBLIC_EXPONENT),
    );
  }

  /** HMAC-SHA-256 under a token key, 32 bytes. */
  hmac(label: string, data: Uint8Array): Uint8Array {
    this.#p11.C_SignInit(
      this.#session,
      { mechanism: pkcs11.CKM_SHA256_HMAC },
      this.#key(label, pkcs11.CKO_SECRET_KEY),
    );
    return Uint8Array.from(this.#p11.C_Sign(this.#session, Buffer.from(data), Buffer.alloc(32)));
  }

  /** Public half of a token key pair, 33 bytes. */
  publicKey(label: string): Uint8Array {
    return compress(this.#publicKey(label));
  }

  #publicKey(label: string): Uint8Array {
    const known = this.#publicKeys.get(label);
    if (known) return known;
    const publicKey = this.#ecPoint(this.#key(label, pkcs11.CKO_PUBLIC_KEY));
    this.#publicKeys.set(label, publicKey);
    return publicKey;
  }

  /** Whether the token trusts the public key of a backup: wrapping keys can leave it under that key, and no other. */
  #isBackedUp(): boolean {
    const key = this.#handles.get(`${pkcs11.CKO_PUBLIC_KEY} ${BACKUP_LABEL}`);
    return key !== undefined && this.#attribute(key, pkcs11.CKA_TRUSTED)[0] === 1;
  }

  /** A wrapping key under the public key of the token's backup (RSA-OAEP): 384 bytes. */
  wrapForBackup(label: string): Uint8Array {
    const backupKey = this.#key(BACKUP_LABEL, pkcs11.CKO_PUBLIC_KEY);
    const key = this.#key(label, pkcs11.CKO_SECRET_KEY);
    return Uint8Array.from(this.#p11.C_WrapKey(this.#session, OAEP, backupKey, key, Buffer.alloc(512)));
  }

  /** Makes an AES-256 key that wraps and unwraps; it leaves the token for its backup only. Every session must {@link learn} it. */
  generateWrappingKey(label: string): string {
    const backedUp = this.#isBackedUp();
    const handle = this.#p11.C_GenerateKey(this.#session, { mechanism: pkcs11.CKM_AES_KEY_GEN }, [
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_PRIVATE, value: true },
      { type: pkcs11.CKA_LABEL, value: label },
      { type: pkcs11.CKA_VALUE_LEN, value: 32 },
      { type: pkcs11.CKA_SENSITIVE, value: true },
      { type: pkcs11.CKA_EXTRACTABLE, value: backedUp },
      ...(backedUp ? [{ type: pkcs11.CKA_WRAP_WITH_TRUSTED, value: true }] : []),
      { type: pkcs11.CKA_WRAP, value: true },
      { type: pkcs11.CKA_UNWRAP, value: true },
      { type: pkcs11.CKA_ENCRYPT, value: false },
      { type: pkcs11.CKA_DECRYPT, value: false },
    ]);
    return handle.toString('hex');
  }

  /** Tells this session of a secret key that another one made, or (without a handle) destroyed. */
  learn(label: string, handle?: string): void {
    const name = `${pkcs11.CKO_SECRET_KEY} ${label}`;
    if (handle) this.#handles.set(name, Buffer.from(handle, 'hex'));
    else this.#handles.delete(name);
  }

  /** The secret keys in the token now whose labels start with `prefix`. */
  listSecretKeys(prefix: string): { label: string; handle: string }[] {
    return this.#tokenKeys([pkcs11.CKO_SECRET_KEY])
      .filter(({ label }) => label.startsWith(prefix))
      .map(({ label, handle }) => ({ label, handle: handle.toString('hex') }));
  }

  destroySecretKey(label: string): void {
    this.#p11.C_DestroyObject(this.#session, this.#key(label, pkcs11.CKO_SECRET_KEY));
  }

  /** Destroys every key of the token whose label starts with `prefix`. */
  destroyKeys(prefix: string): void {
    for (const { label, handle } of this.#tokenKeys(KEY_CLASSES))
      if (label.startsWith(prefix)) this.#p11.C_DestroyObject(this.#session, handle);
  }

  /** Writes a private token object of class CKO_DATA. @returns its handle */
  createData(label: string, value: Uint8Array): string {
    const handle = this.#p11.C_CreateObject(this.#session, [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_DATA },
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_PRIVATE, value: true },
      { type: pkcs11.CKA_APPLICATION, value: APPLICATION },
      { type: pkcs11.CKA_LABEL, value: label },
      { type: pkcs11.CKA_VALUE, value: Buffer.from(value) },
    ]);
    return this.#name(handle);
  }

  /**
   * Destroys data objects that another one stands in for.
   * @param writer an object that must still be there; another program destroys it to end this one's writing
   * @throws TokenError `BKV_FENCED` when it is gone: then nothing is destroyed
   */
  supersede(superseded: readonly string[], writer?: Writer): void {
    if (writer !== undefined && !this.#exists(writer))
      throw new TokenError('another program has become the writer of this token', 'BKV_FENCED');
    for (const old of superseded) this.destroyData(old);
  }

  /** Whether the token holds a data object with exactly these bytes. */
  holdsData(label: string, value: Uint8Array): boolean {
    return this.#find([
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_DATA },
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_PRIVATE, value: true },
      { type: pkcs11.CKA_APPLICATION, value: APPLICATION },
      { type: pkcs11.CKA_LABEL, value: label },
    ]).some((handle) => this.#attribute(handle, pkcs11.CKA_VALUE).equals(value));
  }

  /** Whether the token holds a secret key of this label now. */
  holdsKey(label: string): boolean {
    return this.#findSecretKey(label) !== undefined;
  }

  /** Whether the token holds the key that wrapped a private key (80 bytes) of this public key (65 bytes). */
  unwraps(wrappingKey: string, wrapped: Uint8Array, publicKey: Uint8Array): boolean {
    const handle = this.#findSecretKey(wrappingKey);
    if (!handle) return false;
    this.learn(wrappingKey, handle.toString('hex'));
    // Any point will do: a product that lies on the curve proves that the key is the public key's.
    const point = createECDH('prime256v1').generateKeys();
    return this.multiply({ wrapped, wrappingKey, publicKey }, point).length === 33;
  }

  #findSecretKey(label: string): pkcs11.Handle | undefined {
    const [handle] = this.#find([
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_PRIVATE, value: true },
      { type: pkcs11.CKA_LABEL, value: label },
    ]);
    return handle;
  }

  /** Destroys a data object; one that is gone already is no error. */
  destroyData(handle: string): void {
    try {
      this.#p11.C_DestroyObject(this.#session, this.#handle(handle));
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  /** Some modules give the handle of a destroyed object to another one: the value tells. */
  #exists({ handle, value }: Writer): boolean {
    try {
      return this.#attribute(this.#handle(handle), pkcs11.CKA_VALUE).equals(value);
    } catch (error) {
      if (isGone(error)) return false;
      throw error;
    }
  }

  /** The data objects whose labels start with `prefix`; one that another program destroys meanwhile is left out. */
  listData(prefix: string): DataObject[] {
    return this.#find([
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_DATA },
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_PRIVATE, value: true },
      { type: pkcs11.CKA_APPLICATION, value: APPLICATION },
    ]).flatMap((handle) => {
      try {
        const label = this.#label(handle);
        if (!label.startsWith(prefix)) return [];
        const value = this.#attribute(handle, pkcs11.CKA_VALUE);
        return [{ handle: this.#name(handle), label, value: Uint8Array.from(value) }];
      } catch (error) {
        if (isGone(error)) return [];
        throw error;
      }
    });
  }

  #name(handle: pkcs11.Handle): string {
    return `${this.#epoch}.${handle.toString('hex')}`;
  }

  /** A handle from before the module was initialized anew could be another object's now. */
  #handle(name: string): pkcs11.Handle {
    const [epoch, handle] = name.split('.') as [string, string];
    if (Number(epoch) !== this.#epoch)
      throw new TokenError('the object was found before the token was lost', 'BKV_STALE');
    return Buffer.from(handle, 'hex');
  }

  #deriveX(key: pkcs11.Handle, point: Uint8Array): Uint8Array {
    const secret = this.#p11.C_DeriveKey(
      this.#session,
      {
        mechanism: pkcs11.CKM_ECDH1_DERIVE,
        parameter: {
          type: pkcs11.CK_PARAMS_EC_DH,
          kdf: pkcs11.CKD_NULL,
          publicData: Buffer.from(point),
        } as pkcs11.ECDH1,
      },
      key,
      [
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
        { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
        { type: pkcs11.CKA_TOKEN, value: false },
        { type: pkcs11.CKA_SENSITIVE, value: false },
        { type: pkcs11.CKA_EXTRACTABLE, value: true },
        { type: pkcs11.CKA_VALUE_LEN, value: 32 },
      ],
    );
    try {
      const attribute = this.#attribute(secret, pkcs11.CKA_VALUE);
      return fieldElement(attribute);
    } finally {
      this.#p11.C_DestroyObject(this.#session, secret);
    }
  }

  #wrap(wrappingKey: string, key: pkcs11.Handle): Uint8Array {
    const wrapped = this.#p11.C_WrapKey(
      this.#session,
      { mechanism: this.#keyWrap },
      this.#key(wrappingKey, pkcs11.CKO_SECRET_KEY),
      key,
      Buffer.alloc(256),
    );
    return Uint8Array.from(wrapped);
  }

  #unwrap(wrappingKey: pkcs11.Handle, wrapped: Uint8Array, extractable = false): pkcs11.Handle {
    const unwrap = (template: pkcs11.Template) =>
      this.#p11.C_UnwrapKey(this.#session, { mechanism: this.#keyWrap }, wrappingKey, Buffer.from(wrapped), [
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
        { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_EC },
        { type: pkcs11.CKA_TOKEN, value: false },
        { type: pkcs11.CKA_PRIVATE, value: true },
        { type: pkcs11.CKA_SENSITIVE, value: true },
        { type: pkcs11.CKA_DERIVE, value: true },
        ...template,
      ]);
    if (extractable && !this.#saysExtractable) return unwrap([]);
    try {
      return unwrap([{ type: pkcs11.CKA_EXTRACTABLE, value: extractable }]);
    } catch (error) {
      if ((error as pkcs11.Pkcs11Error).code !== pkcs11.CKR_ATTRIBUTE_READ_ONLY || !extractable) throw error;
      this.#saysExtractable = false;
      return unwrap([]);
    }
  }

  /** Brings a host's scalar in by the way a stored key comes, so that both cost the same. */
  #import(scalar: Uint8Array): pkcs11.Handle {
    this.#importKey ??= this.#p11.C_CreateObject(this.#session, [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
      { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
      { type: pkcs11.CKA_TOKEN, value: false },
      { type: pkcs11.CKA_VALUE, value: this.#importSecret },
      { type: pkcs11.CKA_UNWRAP, value: true },
    ]);
    return this.#unwrap(this.#importKey, wrapScalar(scalar, this.#importSecret));
  }

  #key(label: string, objectClass: number): pkcs11.Handle {
    const name = `${objectClass} ${label}`;
    let handle = this.#handles.get(name);
    if (!handle && this.#onStandby) {
      [handle] = this.#find([
        { type: pkcs11.CKA_CLASS, value: objectClass },
        { type: pkcs11.CKA_LABEL, value: label },
        { type: pkcs11.CKA_TOKEN, value: true },
      ]);
      if (handle) this.#handles.set(name, handle);
    }
    if (!handle) throw new TokenError(`the token holds no key named ${label}`, 'BKV_KEY');
    return handle;
  }

  /** Learns the handles of all keys once: C_FindObjects is linear in the token's objects, so no request waits for it. */
  #loadKeys(): void {
    for (const { objectClass, label, handle } of this.#tokenKeys(KEY_CLASSES))
      this.#handles.set(`${objectClass} ${label}`, handle);
  }

  #tokenKeys(objectClasses: readonly number[]) {
    return objectClasses.flatMap((objectClass) =>
      this.#find([
        { type: pkcs11.CKA_CLASS, value: objectClass },
        { type: pkcs11.CKA_TOKEN, value: true },
      ]).map((handle) => ({ objectClass, label: this.#label(handle), handle })),
    );
  }

  #find(template: pkcs11.Template): pkcs11.Handle[] {
    this.#p11.C_FindObjectsInit(this.#session, template);
    try {
      const all: pkcs11.Handle[] = [];
      for (;;) {
        const some = this.#p11.C_FindObjects(this.#session, 256);
        all.push(...some);
        if (some.length < 256) return all;
      }
    } finally {
      this.#p11.C_FindObjectsFinal(this.#session);
    }
  }

  #attribute(handle: pkcs11.Handle, type: number): Buffer {
    const [attribute] = this.#p11.C_GetAttributeValue(this.#session, handle, [{ type }]);
    if (!attribute)
      throw new TokenError('the token answered without the attribute asked for', 'BKV_ATTRIBUTE');
    return attribute.value as Buffer;
  }

  #label(handle: pkcs11.Handle): string {
    const label = this.#attribute(handle, pkcs11.CKA_LABEL);
    return label.toString('utf8');
  }

  #ecPoint(handle: pkcs11.Handle): Uint8Array {
    const point = this.#attribute(handle, pkcs11.CKA_EC_POINT);
    // A DER OCTET STRING around the uncompressed point; some modules leave the wrapping out.
    return Uint8Array.from(point.subarray(-65));
  }
}

/** An RSA public key as SubjectPublicKeyInfo (DER). */
export function rsaSpki(modulus: Buffer, publicExponent: Buffer): Buffer {
  const jwk = { kty: 'RSA', n: modulus.toString('base64url'), e: publicExponent.toString('base64url') };
  return createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'der' });
}

/** The module's mechanism for RFC 5649. */
export function keyWrapOf(profile: Profile, p11: pkcs11.PKCS11, slot: pkcs11.Handle): number {
  if (profile.keyWrap !== undefined) return profile.keyWrap;
  return p11.C_GetMechanismList(slot).includes(CKM_AES_KEY_WRAP_KWP)
    ? CKM_AES_KEY_WRAP_KWP
    : pkcs11.CKM_AES_KEY_WRAP_PAD;
}

const isGone = (error: unknown): boolean =>
  (error as pkcs11.Pkcs11Error).code === pkcs11.CKR_OBJECT_HANDLE_INVALID;

/** A P-256 private key as PKCS#8, wrapped under an AES-256 key that the host has (RFC 5649): 80 bytes. */
export function wrapScalar(scalar: Uint8Array, key: Uint8Array): Uint8Array {
  const cipher = createCipheriv('id-aes256-wrap-pad', key, KWP_IV);
  return Buffer.concat([cipher.update(Buffer.concat([PKCS8_PREFIX, scalar])), cipher.final()]);
}

/** x as 32 bytes: some tokens strip its leading zero bytes. */
export function fieldElement(x: Uint8Array): Uint8Array {
  if (x.length === 0 || x.length > 32)
    throw new TokenError(`the token derived ${x.length} bytes instead of 32`, 'BKV_DERIVE');
  const padded = new Uint8Array(32);
  padded.set(x, 32 - x.length);
  x.fill(0);
  return padded;
}

function publicKeyOf(scalar: Uint8Array): Uint8Array {
  const ecdh = createECDH('prime256v1');
  try {
    ecdh.setPrivateKey(scalar);
  } catch {
    throw new InvalidPoint('the bytes are not a scalar of P-256');
  }
  return Uint8Array.from(ecdh.getPublicKey());
}
