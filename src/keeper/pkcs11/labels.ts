/** The token's long-lived keys. */
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

/** The keys of pages: `bkv.page.<page>.<generation>`. */
export const PAGE_KEY_PREFIX = 'bkv.page.';

/** The data objects of the retry counters. */
export const LEDGER_PREFIX = 'bkv.ledger.';
