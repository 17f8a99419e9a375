import { CodedError } from '../../protocol/terms.js';
import { type KeptMark, type Ledger, peek, tokenStore } from '../ledger/index.js';
import { log } from '../log/index.js';
import { PAGE_KEY_PREFIX } from '../pkcs11/index.js';
import type { Token } from '../pool/index.js';
import { DatabaseError, type Records } from '../records/index.js';
import { openWith } from './rows.js';

/** Database and token are not of one vault. */
export class ForeignDatabase extends CodedError {
  constructor(message: string) {
    super('foreign-database', message);
  }
}

const KEEP_MS = 1000;
/** How many rows are tried, of generations that the token has keys of. */
const TRIED = 1000;

const name = (serverPublicKey: Uint8Array): string => Buffer.from(serverPublicKey).toString('base64url');

/**
 * What the database remembers about the ledger; `undefined` if no vault has claimed the database.
 * @param serverPublicKey the token's, 33 bytes
 * @throws ForeignDatabase when database and token are of two vaults; LedgerCorrupt
 */
export async function knownMark(
  token: Token,
  records: Records,
  serverPublicKey: Uint8Array,
): Promise<KeptMark | undefined> {
  const binding = await records.binding();
  if (!binding) {
    await assertOneVault(token, records, await peek(tokenStore(token)), serverPublicKey);
    return undefined;
  }
  if (Buffer.from(binding.serverPublicKey).equals(serverPublicKey))
    return { mark: binding.mark, keeper: 'the database' };
  throw new ForeignDatabase(
    `the database belongs to the vault ${name(binding.serverPublicKey)}, but the token is that of the vault ${name(serverPublicKey)}: name the database of the token's vault, or the token of the database's`,
  );
}

/**
 * For a database that no vault has claimed yet. Either it is empty and the token new, or both belong to one
 * vault. This is checked before the ledger is taken over, so that a vault that is serving goes on.
 * @param held what the token's ledger holds @throws ForeignDatabase
 */
async function assertOneVault(
  token: Token,
  records: Records,
  { pages, live }: { pages: number; live: number },
  serverPublicKey: Uint8Array,
): Promise<void> {
  const rows = await records.count();
  const vault = `the token of the vault ${name(serverPublicKey)}`;
  if (rows > 0 && pages === 0)
    throw new ForeignDatabase(
      `the database has ${rows} records, but ${vault} has no counters: the database is of another vault, or the token was emptied. Name an empty database for a new vault`,
    );
  if (rows === 0 && live > 0)
    throw new ForeignDatabase(
      `${vault} has the counters of ${live} accounts, but the database is empty: it is not this vault's. Name the database of this vault; if it is lost, so are the accounts, and a new vault needs a new token (bkv token init)`,
    );
  if (rows > 0 && !(await opensAny(token, records)))
    throw new ForeignDatabase(
      `${vault} opens none of the ${rows} records in the database: the database is of another vault. Name the database of this vault`,
    );
}

/** Whether a page key of the token opens any row. */
async function opensAny(token: Token, records: Records): Promise<boolean> {
  const keys = (await token.listPageKeys(PAGE_KEY_PREFIX)).filter(({ fault }) => !fault);
  const generations = keys.map(({ label }) => Number(label.split('.').at(-1)));
  for (const row of await records.someOf(generations, TRIED))
    for (const { label } of keys)
      if (label.endsWith(`.${row.generation}`) && (await openWith(token, label, row))) return true;
  return false;
}

/**
 * Keeps in the database how new the ledger is, so that a token that was put back to an older state is
 * recognised.
 */
export class Marks {
  readonly #ledger: Ledger;
  readonly #records: Records;
  readonly #serverPublicKey: Uint8Array;
  readonly #timer: NodeJS.Timeout;
  #kept = -1n;
  #keeping: Promise<void> | undefined;

  constructor(ledger: Ledger, records: Records, serverPublicKey: Uint8Array) {
    this.#ledger = ledger;
    this.#records = records;
    this.#serverPublicKey = serverPublicKey;
    this.#timer = setInterval(() => void this.#soon(), KEEP_MS).unref();
  }

  /**
   * Leaves a newer mark as it is: then another daemon has taken the token over, and this one does not know yet.
   * @throws DatabaseError; what the token threw
   */
  async keep(): Promise<void> {
    const { sequence } = this.#ledger;
    const mark = await this.#ledger.mark();
    const before = await this.#records.binding();
    if (before && (await this.#ledger.isOlderThan(before.mark)))
      throw new DatabaseError('the database has a newer mark, of another daemon');
    if (!(await this.#records.bind({ serverPublicKey: this.#serverPublicKey, mark }, before)))
      throw new DatabaseError('another daemon has written its mark meanwhile');
    this.#kept = sequence;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#keeping;
    if (this.#isDue) await this.#soon();
  }

  get #isDue(): boolean {
    return this.#ledger.usable && this.#ledger.sequence !== this.#kept;
  }

  /** One at a time, however long the database takes. */
  #soon(): Promise<void> {
    this.#keeping ??= this.#look()
      .catch((error: Error) => log.debug('the mark of the ledger was not kept', { reason: error.message }))
      .finally(() => {
        this.#keeping = undefined;
      });
    return this.#keeping;
  }

  /**
   * A mark that cannot be written now is written later. The mark of a writer that is fenced off is useless. If there is
   * nothing to write, the database is asked whether it answers: `Records.trouble` tells.
   */
  async #look(): Promise<void> {
    if (this.#isDue) await this.keep();
    else await this.#records.binding();
  }
}
