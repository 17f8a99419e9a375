import { ledgerCells, ledgerJournal } from '../metrics/index.js';
import { TokenError } from '../pkcs11/index.js';
import { Allocation } from './allocation.js';
import { type Attempt, Attempts } from './attempts.js';
import { type Cell, type CellState, Cells } from './cells.js';
import { Commits } from './commits.js';
import { Journal } from './journal.js';
import { Loading } from './loading.js';
import { type KeptMark, sealMark } from './mark.js';
import { Pages } from './pages.js';
import { keyLabel, PageKeys, type Rotation } from './rotation.js';
import { Spending } from './spending.js';
import type { LedgerStore } from './store.js';

export interface LedgerOptions {
  /** wrong passwords until an account is locked, 1 to 200: of registrations from now on */
  readonly limit: number;
  /** what {@link Ledger.mark} gave, as it is kept outside the token */
  readonly marks?: readonly KeptMark[];
  /** bytes that an object of the ledger has at most */
  readonly objectBytes?: number;
  /** cells of a page that is added */
  readonly pageCells?: number;
}

/** Small tokens take objects of this size. */
export const OBJECT_BYTES = 4096;
export const PAGE_CELLS = 262_144;

/**
 * The retry counters, wholly in the token. A change is decided here, by the functions of state.ts on the state in memory,
 * and then waits for the journal object that carries it to the token. Of several programs on one token the last to open
 * the ledger is its writer; a write of another fails.
 */
export class Ledger {
  readonly #store: LedgerStore;
  readonly #options: LedgerOptions;
  readonly #pages = new Pages();
  readonly #attempts = new Attempts();
  readonly #journal: Journal;
  readonly #commits: Commits;
  readonly #keys: PageKeys;
  readonly #cells: Cells;
  readonly #allocation: Allocation;
  readonly #spending: Spending;
  readonly #loading: Loading;
  #marks: readonly KeptMark[];

  private constructor(store: LedgerStore, options: LedgerOptions) {
    const { objectBytes = OBJECT_BYTES, pageCells = PAGE_CELLS } = options;
    this.#store = store;
    this.#options = options;
    this.#marks = options.marks ?? [];
    this.#journal = new Journal(store, this.#pages, objectBytes);
    this.#commits = new Commits(this.#journal, () => this.#publish());
    this.#keys = new PageKeys(store, this.#pages, this.#journal, this.#commits, pageCells);
    this.#cells = new Cells(this.#pages, this.#attempts, this.#commits);
    this.#allocation = new Allocation(this.#cells, this.#pages, this.#commits, this.#journal, this.#keys);
    this.#spending = new Spending(this.#cells, this.#attempts, this.#commits);
    this.#loading = new Loading(store, this.#pages, this.#attempts, this.#cells, this.#journal);
  }

  /**
   * Takes the ledger over. Cells reserved by a registration that did not end are closed; a ledger of version 2 becomes one
   * of this version.
   * @throws LedgerCorrupt when it is not whole, or older than a mark
   */
  static async open(store: LedgerStore, options: LedgerOptions): Promise<Ledger> {
    const ledger = new Ledger(store, options);
    await ledger.#load();
    return ledger;
  }

  /** Wrong passwords until an account is locked that registers now. */
  get limit(): number {
    return this.#options.limit;
  }

  /** What the ledger says of a cell; `dead` when the record's generation is over. */
  state(cell: Cell): CellState {
    const stored = this.#cells.stored(cell);
    if (stored.state === 'live') return { ...stored, open: this.#attempts.on(cell.cell) };
    return { state: stored.state };
  }

  /** Label of the token key that a cell's record is under. */
  keyOf({ cell, generation }: Cell): string {
    return keyLabel(this.pageOf(cell), generation);
  }

  pageOf(cell: number): number {
    return this.#pages.pageOf(cell);
  }

  /**
   * A free cell, set apart in memory only: {@link reserve} or {@link release} must follow.
   * @throws LedgerUnavailable, also when there is none and the token has no room for more
   */
  async pick(): Promise<Cell> {
    const { length } = this.#pages;
    const cell = await this.#allocation.pick();
    if (this.#pages.length > length) this.#publish();
    return cell;
  }

  /** Gives a picked cell back that was not reserved. */
  release(cell: Cell): void {
    this.#allocation.release(cell);
  }

  /**
   * Burns a picked cell: from here on it is this registration's or nobody's. One that cannot be reserved now is released.
   * @throws CellClosed when another program has used it meanwhile, or its generation is over
   */
  reserve(cell: Cell): Promise<void> {
    return this.#allocation.reserve(cell);
  }

  /**
   * Makes a reserved cell the account's, and ends others of it, in one write.
   * @param inherits live cells of the account, whose largest number of attempts used the new one begins with
   * @throws CellClosed when it is not reserved any more
   */
  activate(
    cell: Cell,
    { ends = [], inherits = [] }: { ends?: readonly Cell[]; inherits?: readonly Cell[] } = {},
  ): Promise<void> {
    return this.#allocation.activate(cell, this.limit, { ends, inherits });
  }

  /**
   * Spends an attempt: decided when this returns, in the token when its `durable` resolves.
   * @param cells the account's, the one to be proven first; it is spent on all that are live and have one left. None for
   * an unknown account, which costs the token as much
   * @throws LedgerUnavailable; CellClosed when the first is closed, or `exhausted`: its last attempts are under way
   */
  spend(cells: readonly Cell[]): Attempt {
    return this.#spending.spend(cells);
  }

  /**
   * Ends an attempt for which nothing has left the vault: it is given back wherever it still counts, as soon as the token
   * can be written to.
   */
  giveBack(attempt: Attempt): Promise<void> {
    return this.#spending.giveBack(attempt);
  }

  /**
   * Ends an attempt whose password was proven: its first cell has all attempts again, the others get this one back. Until
   * the token holds that the attempt is under way. A proof that could not be written is written as soon as the token can be
   * written to, and this may be called again for it.
   * @returns how many attempts on the first had failed since the proof before, 0 to 200: the same each time that it is
   * called. One that is under way, or was given back, has not failed
   * @throws CellClosed when the first was closed meanwhile; LedgerUnavailable
   */
  prove(attempt: Attempt): Promise<number> {
    return this.#spending.prove(attempt);
  }

  /**
   * Ends an attempt without proof. A cell whose attempts are all spent, and none under way, is locked.
   * @returns the cells that are locked now
   */
  fail(attempt: Attempt): Promise<Cell[]> {
    return this.#spending.fail(attempt);
  }

  /** Locks a cell whose last attempt a crash cut off. @throws CellClosed when it is not exhausted, or one is under way */
  lock(cell: Cell): Promise<void> {
    return this.#spending.lock(cell);
  }

  /** Whether a proof, or an attempt that is given back, is not in the token yet: it is lost if the process ends before. */
  get owes(): boolean {
    return this.#attempts.owes;
  }

  /** Ends those of the cells that are live: their account or dealing is over. */
  retire(cells: readonly Cell[]): Promise<void> {
    return this.#allocation.retire(cells);
  }

  /** Every page as it has been decided, for the backup of the token. */
  snapshot(): { first: number; generation: number; next: number; words: Uint32Array }[] {
    return this.#pages.all().map(({ first, generation, next, words }) => ({
      first,
      generation,
      next,
      words: words.slice(),
    }));
  }

  get pages(): number {
    return this.#pages.length;
  }

  /** Pages whose key still opens what accounts that have ended left in copies of the database. */
  unshredded(): number[] {
    return this.#pages.all().flatMap(({ next }, page) => (next || this.#pages.hasEnded(page) ? [page] : []));
  }

  /** How many cells are in which state. */
  get counts(): Readonly<Record<'free' | 'live' | 'locked' | 'dead', number>> {
    return this.#pages.counts;
  }

  /** The live cells of a page. */
  liveCells(page: number): number[] {
    return this.#pages.liveCells(page);
  }

  /** Gives a page a second key, for its records to be moved to. Called again, it goes on with that one. */
  beginRotation(page: number): Promise<Rotation> {
    return this.#keys.begin(page);
  }

  /**
   * Ends a page's old generation once no record is left in it: destroys its key, and with it whatever a copy of the
   * database still holds. Cells that had ended when the rotation began are free again: the record of one that was locked
   * must say so by itself.
   */
  async finishRotation(rotation: Rotation): Promise<void> {
    await this.#keys.finish(rotation);
    this.#publish();
  }

  /** The newest change that the token holds: grows with each. */
  get sequence(): bigint {
    return this.#journal.sequence;
  }

  /** How new the ledger is, to be remembered outside the token: 68 bytes. See {@link LedgerOptions.marks}. */
  async mark(): Promise<Uint8Array> {
    const { ledger, term, sequence } = this.#journal;
    const mark = await sealMark((data) => this.#store.mac(data), { ledger, term, sequence });
    this.#marks = [{ mark, keeper: 'this daemon' }];
    return mark;
  }

  /** Waits for the write under way. */
  close(): Promise<void> {
    return this.#commits.settled();
  }

  /** Whether counters can be written. */
  get usable(): boolean {
    return !this.#commits.broken;
  }

  /** Whether another program has become the writer: only a {@link reload} takes the ledger back. */
  get fenced(): boolean {
    const { broken } = this.#commits;
    return broken instanceof TokenError && broken.reason === 'BKV_FENCED';
  }

  /**
   * Becomes the writer and reads the token again after a write has failed, or when the token was lost meanwhile.
   * @throws LedgerCorrupt; what the token threw
   */
  reload(reason?: Error): Promise<void> {
    this.#commits.break(reason);
    return this.#commits.reload(() => this.#load());
  }

  async #load(): Promise<void> {
    await this.#loading.load(this.limit, this.#marks);
    this.#publish();
  }

  #publish(): void {
    for (const [state, count] of Object.entries(this.#pages.counts)) ledgerCells.set({ state }, count);
    ledgerJournal.set(this.#journal.objects);
  }
}
