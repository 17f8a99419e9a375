import { ledgerCells, ledgerJournal } from '../metrics/index.js';
import { TokenError } from '../pkcs11/index.js';
import { type Attempt, Attempts } from './attempts.js';
import { type Commit, Commits } from './commits.js';
import { CellClosed, LedgerCorrupt } from './errors.js';
import { Journal } from './journal.js';
import { checkMark, sealMark } from './mark.js';
import { Pages } from './pages.js';
import { KEY_PREFIX, keyLabel, PageKeys, type Rotation } from './rotation.js';
import {
  activated,
  DEAD,
  givenBack,
  isExhausted,
  type Live,
  LOCKED,
  proven,
  RESERVED,
  type CellState as StoredState,
  spent,
  type Word,
} from './state.js';
import type { LedgerStore } from './store.js';
import { type TakenOver, takeOver } from './take-over.js';

/** Where a record's counter lies. The generation is that of the page's key; a cell is used once in it. */
export interface Cell {
  readonly cell: number;
  readonly generation: number;
}

export type CellState =
  | (Live & {
      /** attempts under way */
      readonly open: number;
    })
  | { readonly state: Exclude<StoredState['state'], 'live'> };

export interface LedgerOptions {
  /** wrong passwords until an account is locked, 1 to 200: of registrations from now on */
  readonly limit: number;
  /** what {@link Ledger.mark} gave, newest of all that is remembered outside the token */
  readonly mark?: Uint8Array | undefined;
  /** bytes that an object of the ledger has at most */
  readonly objectBytes?: number;
  /** cells of a page that is added */
  readonly pageCells?: number;
}

/** Small tokens take objects of this size. */
export const OBJECT_BYTES = 4096;
export const PAGE_CELLS = 65_536;

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
  #mark: Uint8Array | undefined;

  private constructor(store: LedgerStore, options: LedgerOptions) {
    const { objectBytes = OBJECT_BYTES, pageCells = PAGE_CELLS } = options;
    this.#store = store;
    this.#options = options;
    this.#mark = options.mark;
    this.#journal = new Journal(store, this.#pages, objectBytes);
    this.#commits = new Commits(this.#journal, () => this.#publish());
    this.#keys = new PageKeys(store, this.#pages, this.#journal, this.#commits, pageCells);
  }

  /**
   * Takes the ledger over. Cells reserved by a registration that did not end are closed; a ledger of version 2 becomes one
   * of this version.
   * @throws LedgerCorrupt when it is not whole, or older than the mark
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
    const stored = this.#stored(cell);
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
    this.#commits.assertUsable();
    for (;;) {
      const cell = this.#pages.pick();
      if (cell !== undefined) {
        const page = this.#pages.page(this.pageOf(cell));
        return { cell, generation: page.next || page.generation };
      }
      await this.#keys.addPage();
      this.#publish();
    }
  }

  /** Gives a picked cell back that was not reserved. */
  release({ cell }: Cell): void {
    if (this.#pages.unpick(cell) && this.#isFree(cell)) this.#pages.free(cell);
  }

  /**
   * Burns a picked cell: from here on it is this registration's or nobody's.
   * @throws CellClosed when another program has used it meanwhile, or its generation is over
   */
  async reserve(cell: Cell): Promise<void> {
    if (this.#stored(cell).state !== 'free') this.release(cell);
    this.#assert('free', cell);
    this.#pages.unpick(cell.cell);
    await this.#decide([[cell, RESERVED]]).durable;
  }

  /**
   * Makes a reserved cell the account's, and ends others of it, in one write.
   * @param inherits live cells of the account, whose largest number of attempts used the new one begins with
   * @throws CellClosed when it is not reserved any more
   */
  async activate(
    cell: Cell,
    { ends = [], inherits = [] }: { ends?: readonly Cell[]; inherits?: readonly Cell[] } = {},
  ): Promise<void> {
    this.#assert('reserved', cell);
    const used = Math.max(0, ...this.#live(inherits).map(([, { used }]) => used));
    await this.#decide([[cell, activated(this.limit, used)], ...this.#ended(ends)]).durable;
  }

  /**
   * Spends an attempt: decided when this returns, in the token when its `durable` resolves.
   * @param cells the account's, the one to be proven first; it is spent on all that are live and have one left. None for
   * an unknown account, which costs the token as much
   * @throws CellClosed when the first is closed, or `exhausted`: its last attempts are under way
   */
  spend(cells: readonly Cell[]): Attempt {
    const [first] = cells;
    const now = first && this.#stored(first);
    if (now && now.state !== 'live') throw new CellClosed(now.state);
    if (now && isExhausted(now)) throw new CellClosed('exhausted');
    const spendable = this.#live(cells).filter(([, live]) => !isExhausted(live));
    const commit = this.#decide(spendable.map(([cell, live]) => [cell, spent(live)]));
    const attempt = {
      cells: spendable.map(([{ cell, generation }]) => ({ cell, generation })),
      attemptsRemaining: now ? now.limit - now.used - 1 : 0,
      durable: commit.durable,
    };
    this.#attempts.add(attempt, commit);
    return attempt;
  }

  /**
   * Ends an attempt for which nothing has left the vault: it is given back wherever it still counts, as soon as the token
   * can be written to.
   */
  async giveBack(attempt: Attempt): Promise<void> {
    const { cells, spent } = this.#attempts.end(attempt);
    if (!spent) return;
    if (this.#commits.broken) return this.#attempts.owe(spent);
    const back = this.#decide(this.#live(cells).map(([cell, live]) => [cell, givenBack(live)]));
    await back.durable.catch((error) => {
      this.#attempts.owe(spent, back);
      throw error;
    });
  }

  /**
   * Ends an attempt whose password was proven: its first cell has all attempts again, the others get this one back.
   * @throws CellClosed when the first was closed meanwhile
   */
  async prove(attempt: Attempt): Promise<void> {
    const [first] = attempt.cells;
    const { cells } = this.#attempts.end(attempt);
    if (!first) throw new CellClosed('free');
    this.#assert('live', first);
    const others = this.#live(cells.filter(({ cell }) => cell !== first.cell));
    this.#attempts.reset(first.cell);
    await this.#decide([
      ...this.#live([first]).map(([cell, live]): Change => [cell, proven(live)]),
      ...others.map(([cell, live]): Change => [cell, givenBack(live)]),
    ]).durable;
  }

  /**
   * Ends an attempt without proof. A cell whose attempts are all spent, and none under way, is locked.
   * @returns the cells that are locked now
   */
  async fail(attempt: Attempt): Promise<Cell[]> {
    this.#attempts.end(attempt);
    const spentUp = this.#live(attempt.cells).filter(
      ([{ cell }, live]) => isExhausted(live) && this.#attempts.on(cell) === 0,
    );
    const locked = spentUp.map(([cell]) => cell);
    if (locked.length > 0) await this.#close(locked, LOCKED);
    return locked;
  }

  /** Locks a cell whose last attempt a crash cut off. @throws CellClosed when it is not exhausted, or one is under way */
  async lock(cell: Cell): Promise<void> {
    this.#assert('live', cell);
    const live = this.#stored(cell) as Live;
    if (!isExhausted(live) || this.#attempts.on(cell.cell) > 0)
      throw new CellClosed(isExhausted(live) ? 'exhausted' : 'live');
    await this.#close([cell], LOCKED);
  }

  /** Ends those of the cells that are live: their account or dealing is over. */
  async retire(...cells: readonly Cell[]): Promise<void> {
    const ended = this.#ended(cells);
    do await this.#decide(ended.splice(0, this.#journal.room)).durable;
    while (ended.length > 0);
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

  /** How new the ledger is, to be remembered outside the token: 68 bytes. See {@link LedgerOptions.mark}. */
  async mark(): Promise<Uint8Array> {
    const { ledger, term, sequence } = this.#journal;
    const mark = await sealMark((data) => this.#store.mac(data), { ledger, term, sequence });
    this.#mark = mark;
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

  #stored({ cell, generation }: Cell): StoredState {
    const number = this.pageOf(cell);
    if (number < 0) return DEAD;
    const page = this.#pages.page(number);
    return generation === page.generation || generation === page.next ? this.#pages.get(cell) : DEAD;
  }

  #isFree(cell: number): boolean {
    return this.pageOf(cell) >= 0 && this.#pages.get(cell).state === 'free';
  }

  /** Those that are live, each once. */
  #live(cells: readonly Cell[]): [Cell, Live][] {
    const once = new Map(cells.map((cell) => [cell.cell, cell]));
    return [...once.values()].flatMap((cell): [Cell, Live][] => {
      const stored = this.#stored(cell);
      return stored.state === 'live' ? [[cell, stored]] : [];
    });
  }

  /** What ends the live ones of these cells. */
  #ended(cells: readonly Cell[]): Change[] {
    return this.#live(cells).map(([cell]) => {
      this.#attempts.reset(cell.cell);
      return [cell, DEAD];
    });
  }

  async #close(cells: readonly Cell[], state: StoredState): Promise<void> {
    for (const { cell } of cells) this.#attempts.reset(cell);
    await this.#decide(cells.map((cell) => [cell, state])).durable;
  }

  #assert(wanted: StoredState['state'], cell: Cell): void {
    this.#commits.assertUsable();
    const { state } = this.#stored(cell);
    if (state !== wanted) throw new CellClosed(state);
  }

  /** Decides changes, and has them carried to the token. */
  #decide(changes: readonly Change[]): Commit {
    try {
      this.#commits.assertUsable();
    } catch (error) {
      return { durable: handled(Promise.reject(error)), sequence: () => undefined };
    }
    const commit = this.#commits.add(
      new Map(changes.map(([{ cell }, state]): [number, Word] => [cell, this.#pages.set(cell, state)])),
    );
    return { ...commit, durable: handled(commit.durable) };
  }

  async #load(): Promise<void> {
    const taken = await takeOver(this.#store, this.#journal.writer, {
      limit: this.limit,
      known: this.#mark !== undefined,
    });
    if (taken.sequence < this.#journal.sequence)
      throw new LedgerCorrupt('the token holds counters older than those that were acknowledged');
    if (this.#mark) await checkMark((data) => this.#store.mac(data), this.#mark, taken);
    const orphans = await this.#orphanedKeys(taken);
    const ours = taken.term === this.#journal.term;
    this.#pages.load(taken.pages);
    this.#journal.begin({ ...taken, term: taken.term + 1 });
    if (taken.upgrade) for (const [page] of taken.pages.entries()) await this.#journal.writePage(page);
    await this.#tidy(this.#attempts.due(taken.sequence, ours));
    this.#attempts.settled(ours);
    for (const handle of taken.superseded) await this.#store.destroyData(handle);
    for (const label of orphans) await this.#store.destroyPageKey(label);
    this.#publish();
  }

  /** @returns keys of no page @throws LedgerCorrupt when a page lacks its key */
  async #orphanedKeys({ pages }: TakenOver): Promise<string[]> {
    const needed = new Set(
      pages.flatMap(({ generation, next }, page) =>
        [generation, next].filter((one) => one).map((one) => keyLabel(page, one)),
      ),
    );
    const present = await this.#store.listPageKeys(KEY_PREFIX);
    const missing = [...needed].find((label) => !present.includes(label));
    if (missing) throw new LedgerCorrupt(`the token lacks the page key ${missing}`);
    return present.filter((label) => !needed.has(label));
  }

  /** Closes what was reserved, and gives back what is owed. The first write of the new writer. */
  async #tidy(owed: readonly number[]): Promise<void> {
    const changes = new Map<number, Word>();
    for (const cell of this.#pages.reserved()) changes.set(cell, this.#pages.set(cell, DEAD));
    for (const cell of owed) {
      const stored = this.#pages.get(cell);
      if (stored.state === 'live') changes.set(cell, this.#pages.set(cell, givenBack(stored)));
    }
    const all = [...changes];
    do await this.#journal.append(new Map(all.splice(0, this.#journal.room)));
    while (all.length > 0);
  }

  #publish(): void {
    for (const [state, count] of Object.entries(this.#pages.counts)) ledgerCells.set({ state }, count);
    ledgerJournal.set(this.#journal.objects);
  }
}

type Change = readonly [Cell, StoredState];

/** A rejection that somebody hears of later is not one that nobody hears of. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}
