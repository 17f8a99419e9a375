import type { Writer } from './objects.js';
import type { Session } from './session.js';

interface Operation {
  /** what it spends its time on, for the metrics */
  readonly mechanism: string;
  /**
   * The operation looks through the token's objects, or makes or destroys some. So it runs alone and on the
   * first token. Otherwise a list could name an object that is gone when it is read, and SoftHSM2 fails
   * writes while another session searches.
   */
  readonly objects?: true;
  /** it leaves session objects behind, if the module never frees them */
  readonly wears?: true;
}

/** Every operation of a {@link Session} that the pool runs. */
export const OPERATIONS = {
  login: { mechanism: 'CKM_ECDH1_DERIVE', wears: true },
  multiply: { mechanism: 'CKM_ECDH1_DERIVE', wears: true },
  generateWrapped: { mechanism: 'CKM_EC_KEY_PAIR_GEN', wears: true },
  importShare: { mechanism: 'CKM_AES_KEY_WRAP_PAD', wears: true },
  hmac: { mechanism: 'CKM_SHA256_HMAC' },
  probe: { mechanism: 'CKM_ECDH1_DERIVE' },
  publicKey: { mechanism: 'none' },
  wrapForBackup: { mechanism: 'CKM_RSA_PKCS_OAEP' },
  generatePageKey: { mechanism: 'CKM_GENERIC_SECRET_KEY_GEN', objects: true },
  destroyPageKey: { mechanism: 'none', objects: true },
  listPageKeys: { mechanism: 'none', objects: true },
  createData: { mechanism: 'none', objects: true },
  supersede: { mechanism: 'none', objects: true },
  destroyData: { mechanism: 'none', objects: true },
  listData: { mechanism: 'none', objects: true },
} as const satisfies Partial<Record<keyof Session, Operation>>;

export type OperationName = keyof typeof OPERATIONS;
export const operation = (name: OperationName): Operation => OPERATIONS[name];

/** What the token can be asked for: the operations, and one call that is made of several. */
export interface Calls extends Pick<Session, OperationName> {
  /**
   * Writes a private data object. Once the witness has seen it and `writer` is still there, destroys the
   * objects that it replaces. @returns its handle
   * @throws TokenError `BKV_NOT_WRITTEN` when the token did not keep it, `BKV_FENCED` when another program is
   * the writer: then nothing was destroyed
   */
  replaceData(label: string, value: Uint8Array, superseded: readonly string[], writer?: Writer): string;
}
