import { randomBytes } from 'node:crypto';
import type { Ledger } from '../ledger/index.js';
import { audit } from '../log/index.js';
import { tamperedRecords } from '../metrics/index.js';
import { KEY_LABELS } from '../pkcs11/index.js';
import type { Token } from '../pool/index.js';
import {
  BadRow,
  type Content,
  NONCE_BYTES,
  nonceOf,
  type OpenRow,
  openRow,
  type Place,
  type Row,
  rowKeyInput,
  sealRow,
} from '../records/index.js';

/** A place of no account: used to open something in place of a row. */
const NOBODY: Place = { account: '00'.repeat(32), cell: 0, generation: 1 };
const NOTHING: Content = {
  dealing: '',
  named: true,
  wrappedKey: new Uint8Array(80),
  publicKey: new Uint8Array(65),
  registrationRecord: new Uint8Array(129),
  encryptedBackupKey: new Uint8Array(60),
};
const STAND_IN = sealRow(NOBODY, NOTHING, new Uint8Array(NONCE_BYTES), new Uint8Array(32));

/** Seals and opens rows. Each row's key is one HMAC under its page's key. */
export class Rows {
  readonly #token: Token;
  readonly #ledger: Ledger;

  constructor(token: Token, ledger: Ledger) {
    this.#token = token;
    this.#ledger = ledger;
  }

  async seal(place: Place, content: Content): Promise<Row> {
    const nonce = randomBytes(NONCE_BYTES);
    const key = await this.#token.call('hmac', this.#ledger.keyOf(place), rowKeyInput(place, nonce));
    try {
      return sealRow(place, content, nonce, key);
    } finally {
      key.fill(0);
    }
  }

  /**
   * @param requestId that of the request for which the row is opened @returns `undefined` when this vault did
   * not write the row there, which is counted and audited
   */
  async open(row: Row, requestId?: string): Promise<OpenRow | undefined> {
    const opened = await openWith(this.#token, this.#ledger.keyOf(row), row);
    if (!opened) {
      tamperedRecords.inc();
      audit('record refused', { account: row.account, cell: row.cell, requestId });
    }
    return opened;
  }

  /** Takes as long as {@link open} does. */
  async openNone(): Promise<void> {
    const data = rowKeyInput(NOBODY, new Uint8Array(NONCE_BYTES));
    const key = await this.#token.call('hmac', KEY_LABELS.fake, data);
    openRow(STAND_IN, key.fill(0));
  }
}

/** @param pageKey a label @returns `undefined` when that key did not seal the row there */
export async function openWith(token: Token, pageKey: string, row: Row): Promise<OpenRow | undefined> {
  let key: Uint8Array | undefined;
  try {
    key = await token.call('hmac', pageKey, rowKeyInput(row, nonceOf(row)));
    return openRow(row, key);
  } catch (error) {
    if (!(error instanceof BadRow)) throw error;
    return undefined;
  } finally {
    key?.fill(0);
  }
}
