import { ledgerCells, ledgerJournal } from '../metrics/index.js';
import { TokenError } from '../pkcs11/index.js';
import { Allocation } from './allocation.js';
import { type Attempt, Attempts } from './attempts.js';
import { type Cell, type CellState, Cells } from './cells.js';
import { Commits } from './commits.js';
import { Journal } from './journal.js';
import { Loading } from './loading.js';
import { isNewer, type KeptMark, sealMark } from './mark.js';
import { Pages } from './pages.js';
import { keyLabel, PageKeys, type Rotation } from './rotation.js';
import { Spending } from './spending.js';
import type { LedgerStore } from './store.js';

export interface LedgerOptions {
  /** wrong passwords until an account is locked, 1 to 200; holds for registrations from now on */
  readonly limit: number;
  /** marks of {@link Ledger.mark} that are kept outside the token */
  readonly marks?: readonly KeptMark[];
  /** most bytes of an object of the ledger */
  readonly objectBytes?: number;
  /** cells of a new page */
  readonly pageCells?: number;
}

/** Small tokens take objects of this size. */
export const OBJECT_BYTES = 4096;
export const PAGE_CELLS = 262_144;

/**
 * The retry counters, wholly in the token. A change is decided here, by the functions of state.ts on the
 * state in memory. Then it waits for the journal object that carries it to the token. If several programs use
 * one token, the last one to open the ledger is its writer; writes of the others fail.
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
    this.#cells = new Cells(this.#pages, this.#commits);
    this.#allocation = new Allocation(this.#cells, this.#pages, this.#commits, this.#journal, this.#keys);
    this.#spending = new Spending(this.#cells, this.#attempts, this.#commits);
    this.#loading = new Loading(store, this.#pages, this.#attempts, this.#journal);
  }

  /**
   * Takes the ledger over. Cells that an unfinished registration had reserved are closed. A ledger of version
   * 2 is converted to this version.
   * @throws LedgerCorrupt when it is not whole, or older than a mark
   */
  static async open(store: LedgerStore, options: LedgerOptions): Promise<Ledger> {
    const ledger = new Ledger(store, options);
    await ledger.#load();
    return ledger;
  }

  /** Wrong passwords until an account that registers now is locked. */
  get limit(): number {
    return this.#options.limit;
  }

  /**
   * What was decided of a cell; `dead` when the record's generation is over. A crash undoes what the token does not
   * hold yet, so nothing is told or deleted because of it before {@link durable}.
   */
  state(cell: Cell): CellState {
    const stored = this.#cells.stored(cell);
    if (stored.state === 'live') return { ...stored, open: this.#attempts.on(cell.cell) };
    return { state: stored.state };
  }

  /** Label of the token key that a cell's record is sealed under. */
  keyOf({ cell, generation }: Cell): string {
    return keyLabel(this.pageOf(cell), generation);
  }

  pageOf(cell: number): number {
    return this.#pages.pageOf(cell);
  }

  /**
   * A free cell, set aside in memory only: {@link reserve} or {@link release} must follow.
   * @throws LedgerUnavailable, also when there is none and the token has no room for more
   */
  async pick(): Promise<Cell> {
    const { length } = this.#pages;
    const cell = await this.#allocation.pick();
    if (this.#pages.length > length) this.#publish();
    return cell;
  }

  /** The generation that records are sealed under now; while a page's key is replaced, that of its new key. */
  generationOf({ cell }: Cell): number {
    return this.#allocation.generationOf(cell);
  }

  /** Gives back a picked cell that was not reserved. */
  release(cell: Cell): void {
    this.#allocation.release(cell);
  }

  /**
   * Burns a picked cell: from now on it is this registration's or nobody's. A cell that cannot be reserved
   * now is released.
   * @throws CellClosed when another program has used it meanwhile, or its generation is over
   */
  reserve(cell: Cell): Promise<void> {
    return this.#allocation.reserve(cell);
  }

  /** Ends a reserved cell whose registration has failed. @throws CellClosed when it is not reserved any more */
  abandon(cell: Cell): Promise<void> {
    return this.#allocation.abandon(cell);
  }

  /**
   * Makes a reserved cell the account's, and ends other cells of the account, in one write.
   * @param inherits live cells of the account: the new cell begins with as many used attempts as the one that
   * has most
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
   * @param cells the account's, first the one to be proven; the attempt is spent on all that are live and
   * have one left. An unknown account has none, but costs the token as much work
   * @throws LedgerUnavailable; CellClosed when the first is closed, or is `exhausted` because its last
   * attempts are under way
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
   * Ends an attempt whose password was proven: its first cell gets all attempts back, the others get this one
   * back. The attempt is under way until the token holds the proof. A proof that could not be written is
   * written as soon as the token can be written to; until then this may be called again for it.
   * @returns how many attempts on the first cell had failed since the previous proof, 0 to 200, and the same
   * at each call. An attempt that is under way or was given back has not failed
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

  /**
   * Locks a cell whose last attempt was cut off by a crash. @throws CellClosed when it is not exhausted, or
   * an attempt is under way
   */
  lock(cell: Cell): Promise<void> {
    return this.#spending.lock(cell);
  }

  /**
   * Whether a proof, or an attempt that is given back, is not in the token yet. It would be lost if the
   * process ended now.
   */
  get owes(): boolean {
    return this.#attempts.owes;
  }

  /** Ends the live ones of these cells, because their account or dealing has ended. */
  retire(cells: readonly Cell[]): Promise<void> {
    return this.#allocation.retire(cells);
  }

  /** Every page as the token holds it, for the backup of the token. */
  snapshot(): { first: number; generation: number; next: number; words: Uint32Array }[] {
    return this.#pages.all().map(({ first, generation, next, durable }) => ({
      first,
      generation,
      next,
      words: durable.slice(),
    }));
  }

  get pages(): number {
    return this.#pages.length;
  }

  /** Pages whose key still opens records of ended accounts in copies of the database. */
  unshredded(): number[] {
    return this.#pages.all().flatMap(({ next }, page) => (next || this.#pages.hasEnded(page) ? [page] : []));
  }

  /** How many cells are in which state. */
  get counts(): Readonly<Record<'free' | 'live' | 'locked' | 'dead', number>> {
    return this.#pages.counts;
  }

  /** The first and the last cell of a page. */
  cellsOf(page: number): readonly [first: number, last: number] {
    const { first, words } = this.#pages.page(page);
    return [first, first + words.length - 1];
  }

  /** The live cells of a page. */
  liveCells(page: number): number[] {
    return this.#pages.liveCells(page);
  }

  /** Gives a page a second key, to which its records are moved. Called again, it goes on with that key. */
  beginRotation(page: number): Promise<Rotation> {
    return this.#keys.begin(page);
  }

  /**
   * Ends a page's old generation once no record is left in it: destroys its key, and with it whatever a copy
   * of the database still holds. Cells that had ended when the rotation began become free. So the record of a
   * locked account must say by itself that the account is locked.
   */
  async finishRotation(rotation: Rotation): Promise<void> {
    await this.#keys.finish(rotation);
    this.#publish();
  }

  /** The newest change that the token holds; it grows with each change. */
  get sequence(): bigint {
    return this.#journal.sequence;
  }

  /** How new the ledger is, 68 bytes, to be remembered outside the token. See {@link LedgerOptions.marks}. */
  async mark(): Promise<Uint8Array> {
    const { ledger, term, sequence } = this.#journal;
    const mark = await sealMark((data) => this.#store.mac(data), { ledger, term, sequence });
    this.#marks = [{ mark, keeper: 'this daemon' }];
    return mark;
  }

  /** Whether a mark is one of this token's, and newer than what this ledger knows. */
  isOlderThan(mark: Uint8Array): Promise<boolean> {
    return isNewer((data) => this.#store.mac(data), mark, this.sequence);
  }

  /** Waits for the write under way. */
  close(): Promise<void> {
    return this.#commits.settled();
  }

  /** How often the token was read again. That undoes what was decided and is not in the token. */
  get reading(): number {
    return this.#commits.reading;
  }

  /**
   * Resolves when the token holds everything that was decided until now.
   * @param reading the {@link reading} at which the caller began to look @throws LedgerUnavailable, also when the token
   * was read again since
   */
  durable(reading?: number): Promise<void> {
    return this.#commits.durable(reading);
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
   * Becomes the writer and reads the token again after a write has failed, or when the token was lost meanwhile. Resolves
   * when the token holds what was owed to it.
   * @throws LedgerCorrupt; what the token threw
   */
  reload(reason?: Error): Promise<void> {
    this.#commits.break(reason);
    return this.#commits.reload(
      () => this.#load(),
      () => this.#spending.carryOwed(),
    );
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
