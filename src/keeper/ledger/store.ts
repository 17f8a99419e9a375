import { type DataObject, KEY_LABELS, type PageKey, type Writer } from '../pkcs11/index.js';
import type { Token } from '../pool/index.js';

/** The token key that every object of the ledger is authenticated by (HMAC-SHA-256). */
const LEDGER_KEY = KEY_LABELS.ledger;

/** Where the ledger lies: the token's data objects, and the keys of its pages. */
export interface LedgerStore {
  /**
   * Writes an object. Once it is durable and `writer` is still there, destroys the objects that it replaces.
   * @returns its handle @throws when the `writer` object is gone: then nothing was destroyed
   */
  replaceData(
    label: string,
    value: Uint8Array,
    superseded: readonly string[],
    writer?: Writer,
  ): Promise<string>;
  /** Destroys an object; one that is gone already is not an error. */
  destroyData(handle: string): Promise<void>;
  listData(prefix: string): Promise<DataObject[]>;
  /** Makes {@link listData} show what other programs have written until now. Older handles become void. */
  refresh(): Promise<void>;
  /** HMAC-SHA-256 under the token's ledger key, 32 bytes. */
  mac(data: Uint8Array): Promise<Uint8Array>;
  generatePageKey(label: string): Promise<void>;
  destroyPageKey(label: string): Promise<void>;
  listPageKeys(prefix: string): Promise<Pick<PageKey, 'label' | 'fault'>[]>;
}

/** The ledger's home in a token. */
export const tokenStore = (token: Token): LedgerStore => ({
  replaceData: (label, value, superseded, writer) =>
    token.call('replaceData', label, value, superseded, writer),
  destroyData: (handle) => token.call('destroyData', handle),
  listData: (prefix) => token.call('listData', prefix),
  refresh: () => token.refresh(),
  mac: (data) => token.call('hmac', LEDGER_KEY, data),
  generatePageKey: (label) => token.generatePageKey(label),
  destroyPageKey: (label) => token.destroyPageKey(label),
  listPageKeys: (prefix) => token.listPageKeys(prefix),
});
