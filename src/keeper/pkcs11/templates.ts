import pkcs11 from 'pkcs11js';
import { attributeArray, type Hardening, ulongs } from './attributes.js';
import { BACKUP_LABEL } from './labels.js';

/** DER of the object identifier of P-256. */
export const OID_P256 = Buffer.from('06082a8648ce3d030107', 'hex');

export interface Use {
  /**
   * whether the key may leave its token under a key that the security officer trusts; otherwise it never does
   */
  readonly backedUp: boolean;
  /** whether it stays in the token; otherwise it ends with its session */
  readonly token?: boolean;
}

const held = (label: string, { backedUp, token = true }: Use): pkcs11.Template => [
  { type: pkcs11.CKA_LABEL, value: label },
  { type: pkcs11.CKA_TOKEN, value: token },
  { type: pkcs11.CKA_PRIVATE, value: true },
  { type: pkcs11.CKA_SENSITIVE, value: true },
  { type: pkcs11.CKA_EXTRACTABLE, value: backedUp },
  ...(backedUp ? [{ type: pkcs11.CKA_WRAP_WITH_TRUSTED, value: true }] : []),
];

const secretKey = (keyType: number, label: string, use: Use): pkcs11.Template => [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
  { type: pkcs11.CKA_KEY_TYPE, value: keyType },
  ...held(label, use),
  { type: pkcs11.CKA_ENCRYPT, value: false },
  { type: pkcs11.CKA_DECRYPT, value: false },
  { type: pkcs11.CKA_VERIFY, value: false },
  { type: pkcs11.CKA_DERIVE, value: false },
];

/** The key that wraps every account's key (AES-256), to be generated or unwrapped. */
export const wrapKey = (label: string, use: Use): pkcs11.Template => [
  ...secretKey(pkcs11.CKK_AES, label, use),
  { type: pkcs11.CKA_SIGN, value: false },
  { type: pkcs11.CKA_WRAP, value: true },
  { type: pkcs11.CKA_UNWRAP, value: true },
];

/** A key for HMAC-SHA-256 and nothing else, to be generated or unwrapped. */
export const hmacKey = (label: string, use: Use): pkcs11.Template => [
  ...secretKey(pkcs11.CKK_GENERIC_SECRET, label, use),
  { type: pkcs11.CKA_SIGN, value: true },
  { type: pkcs11.CKA_WRAP, value: false },
  { type: pkcs11.CKA_UNWRAP, value: false },
];

/** The secret half of the vault's identity (P-256), to be generated or unwrapped. */
export const staticKey = (label: string, use: Use): pkcs11.Template => [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
  { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_EC },
  ...held(label, use),
  { type: pkcs11.CKA_DERIVE, value: true },
  { type: pkcs11.CKA_SIGN, value: false },
];

/** Its public half, to be generated, or with its point created. */
export const staticPublicKey = (label: string): pkcs11.Template => [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PUBLIC_KEY },
  { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_EC },
  { type: pkcs11.CKA_LABEL, value: label },
  { type: pkcs11.CKA_TOKEN, value: true },
  { type: pkcs11.CKA_PRIVATE, value: false },
  { type: pkcs11.CKA_EC_PARAMS, value: OID_P256 },
];

/** The public half of the pair in a backup token: RSA of 3,072 bits, which wraps and does nothing else. */
export const backupPublicKey: pkcs11.Template = [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PUBLIC_KEY },
  { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_RSA },
  { type: pkcs11.CKA_LABEL, value: BACKUP_LABEL },
  { type: pkcs11.CKA_TOKEN, value: true },
  { type: pkcs11.CKA_PRIVATE, value: false },
  { type: pkcs11.CKA_MODULUS_BITS, value: 3072 },
  { type: pkcs11.CKA_PUBLIC_EXPONENT, value: Buffer.of(1, 0, 1) },
  { type: pkcs11.CKA_WRAP, value: true },
  { type: pkcs11.CKA_ENCRYPT, value: false },
  { type: pkcs11.CKA_VERIFY, value: false },
];

/** Its secret half. */
export const backupKey: pkcs11.Template = [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
  { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_RSA },
  ...held(BACKUP_LABEL, { backedUp: false }),
  { type: pkcs11.CKA_UNWRAP, value: true },
  { type: pkcs11.CKA_DECRYPT, value: false },
  { type: pkcs11.CKA_SIGN, value: false },
];

/** What {@link backupKey} may unwrap: a page's key, or the key that wraps the long-lived keys. */
const backedUpKey: pkcs11.Template = [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
  { type: pkcs11.CKA_PRIVATE, value: true },
  { type: pkcs11.CKA_SENSITIVE, value: true },
  { type: pkcs11.CKA_EXTRACTABLE, value: false },
  { type: pkcs11.CKA_ENCRYPT, value: false },
  { type: pkcs11.CKA_DECRYPT, value: false },
  { type: pkcs11.CKA_WRAP, value: false },
];

/** The key that wraps the long-lived keys (AES-256), while they are unwrapped. */
export const backupKek: pkcs11.Template = [
  ...backedUpKey,
  { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
  { type: pkcs11.CKA_TOKEN, value: false },
  { type: pkcs11.CKA_UNWRAP, value: true },
];

/** A P-256 private key that is in the module for one use. */
const sessionKey: pkcs11.Template = [
  { type: pkcs11.CKA_TOKEN, value: false },
  { type: pkcs11.CKA_PRIVATE, value: true },
  { type: pkcs11.CKA_SENSITIVE, value: true },
  { type: pkcs11.CKA_DERIVE, value: true },
];

/** An account's new key, which is wrapped at once. */
export const newAccountKey: pkcs11.Template = [...sessionKey, { type: pkcs11.CKA_EXTRACTABLE, value: true }];

/** An account's key that is unwrapped for use; {@link FIXED} hardens it. */
export const accountKey: pkcs11.Template = [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
  { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_EC },
  ...sessionKey,
  { type: pkcs11.CKA_EXTRACTABLE, value: false },
  { type: pkcs11.CKA_SIGN, value: false },
];

const no = (name: 'CKA_COPYABLE' | 'CKA_MODIFIABLE'): Hardening => ({
  name,
  type: pkcs11[name],
  value: () => false,
});

/** For every key: it cannot be copied, and what it may be used for cannot be changed. */
export const FIXED: readonly Hardening[] = [no('CKA_COPYABLE'), no('CKA_MODIFIABLE')];

const allowed = (mechanism: number): Hardening => ({
  name: 'CKA_ALLOWED_MECHANISMS',
  type: pkcs11.CKA_ALLOWED_MECHANISMS,
  value: () => ulongs(mechanism),
});

const unwraps = (template: pkcs11.Template): Hardening => ({
  name: 'CKA_UNWRAP_TEMPLATE',
  type: pkcs11.CKA_UNWRAP_TEMPLATE,
  value: () => attributeArray([...template, ...FIXED.map(({ type }) => ({ type, value: false }))]),
});

/**
 * For {@link wrapKey}: what it wraps can only be unwrapped as an account's key for use.
 * @param keyWrap the module's mechanism for RFC 5649
 */
export const wrapKeyHardenings = (keyWrap: number): readonly Hardening[] => [
  allowed(keyWrap),
  unwraps(accountKey),
  ...FIXED,
];

/** For {@link backupKey}. @param oaep the mechanism by which it unwraps */
export const backupKeyHardenings = (oaep: number): readonly Hardening[] => [
  allowed(oaep),
  unwraps(backedUpKey),
  ...FIXED,
];

/**
 * A share that a client sent, to be wrapped at once. Some modules have CKA_EXTRACTABLE=true as a default, but
 * refuse it in a template.
 */
export const share = (saysExtractable: boolean): pkcs11.Template => [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
  { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_EC },
  ...sessionKey,
  ...(saysExtractable ? [{ type: pkcs11.CKA_EXTRACTABLE, value: true }] : []),
];

/** The AES-256 key that a share travels under, derived for it alone. */
export const transportKey: pkcs11.Template = [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
  { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
  { type: pkcs11.CKA_VALUE_LEN, value: 32 },
  { type: pkcs11.CKA_TOKEN, value: false },
  { type: pkcs11.CKA_PRIVATE, value: true },
  { type: pkcs11.CKA_SENSITIVE, value: true },
  { type: pkcs11.CKA_EXTRACTABLE, value: false },
  { type: pkcs11.CKA_UNWRAP, value: true },
];
