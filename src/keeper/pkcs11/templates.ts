import pkcs11 from 'pkcs11js';

/** DER of the object identifier of P-256. */
export const OID_P256 = Buffer.from('06082a8648ce3d030107', 'hex');

interface Use {
  /** whether the key may leave its token under a key that the security officer trusts; else it never does */
  readonly backedUp: boolean;
  /** whether it stays in the token; else it is gone with its session */
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

/** A P-256 private key that is in the module for one use. */
const sessionKey: pkcs11.Template = [
  { type: pkcs11.CKA_TOKEN, value: false },
  { type: pkcs11.CKA_PRIVATE, value: true },
  { type: pkcs11.CKA_SENSITIVE, value: true },
  { type: pkcs11.CKA_DERIVE, value: true },
];

/** An account's key that is made, to be wrapped at once. */
export const newAccountKey: pkcs11.Template = [...sessionKey, { type: pkcs11.CKA_EXTRACTABLE, value: true }];

/** An account's key that is unwrapped, to be used. */
export const accountKey: pkcs11.Template = [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
  { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_EC },
  ...sessionKey,
  { type: pkcs11.CKA_EXTRACTABLE, value: false },
];

/** A share that a client sent, to be wrapped at once. Some modules have CKA_EXTRACTABLE=true as a default that cannot be said. */
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
