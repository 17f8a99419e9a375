import { type Leaf, leafOf, type PageState } from './replay.js';
import {
  type CellState,
  FREE,
  fromWord,
  isEndedWord,
  isFreeWord,
  isLiveWord,
  RESERVED,
  toWord,
  type Word,
} from './state.js';

/** A page in memory. */
export interface Page extends PageState {
  /** the decided state; `durable` is what the token holds, in pages and journals together */
  readonly words: Uint32Array;
  readonly durable: Uint32Array;
}

/**
 * All cells of the ledger in memory: their decided state, their durable state, and how many are in which
 * state. No I/O.
 */
export class Pages {
  #pages: Page[] = [];
  #free: number[] = [];
  /** free cells that somebody means to reserve */
  readonly #picked = new Set<number>();
  readonly counts = { free: 0, live: 0, locked: 0, dead: 0 };

  /** Takes in what was read from the token. Picked cells stay picked. */
  load(pages: readonly PageState[]): void {
    this.#pages = [];
    this.#free = [];
    Object.assign(this.counts, { free: 0, live: 0, locked: 0, dead: 0 });
    for (const page of pages) this.#take(page);
    for (const page of pages.toReversed()) for (const cell of this.#freeOf(page)) this.#free.push(cell);
  }

  /** Appends a page; its free cells are given out from now on. */
  add(page: PageState): void {
    this.#take(page);
    this.#free = [...this.#freeOf(page), ...this.#free];
  }

  #take(page: PageState): void {
    this.#pages.push({ ...page, durable: page.words.slice() });
    for (const word of page.words) this.#count(word, 1);
  }

  /** A page's free cells that nobody has picked, in descending order: they are taken from the end. */
  #freeOf({ first, words }: PageState): number[] {
    const free: number[] = [];
    for (let i = words.length - 1; i >= 0; i--)
      if (isFreeWord(words[i] as Word) && !this.#picked.has(first + i)) free.push(first + i);
    return free;
  }

  get length(): number {
    return this.#pages.length;
  }

  /** The first cell after the last page. */
  get end(): number {
    const last = this.#pages.at(-1);
    return last ? last.first + last.words.length : 0;
  }

  all(): readonly Page[] {
    return this.#pages;
  }

  page(number: number): Page {
    return this.#pages[number] as Page;
  }

  /** The number of the page that holds a cell; -1 when none does. */
  pageOf(cell: number): number {
    if (cell >= this.end) return -1;
    let [low, high] = [0, this.#pages.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.page(middle).first <= cell) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The page objects that count, in the order of their cells. */
  leaves(): Leaf[] {
    return this.#pages.flatMap(({ leaves }) => leaves);
  }

  get(cell: number): CellState {
    const page = this.page(this.pageOf(cell));
    return fromWord(page.words[cell - page.first] as Word);
  }

  /** Decides the state of a cell. */
  set(cell: number, state: CellState): Word {
    const page = this.page(this.pageOf(cell));
    const at = cell - page.first;
    const word = toWord(state);
    this.#count(page.words[at] as Word, -1);
    this.#count(word, 1);
    page.words[at] = word;
    return word;
  }

  /** Notes that the token holds changes, in a journal that ends at `sequence`. */
  commit(changes: ReadonlyMap<number, Word>, sequence: bigint): void {
    for (const [cell, word] of changes) {
      const page = this.page(this.pageOf(cell));
      page.durable[cell - page.first] = word;
      leafOf(page, cell).dirtySince ??= sequence;
    }
  }

  /** The leaf with the oldest change that is only in a journal. */
  oldest(): { page: number; leaf: Leaf; since: bigint } | undefined {
    let oldest: { page: number; leaf: Leaf; since: bigint } | undefined;
    this.#pages.forEach(({ leaves }, page) => {
      for (const leaf of leaves) {
        const since = leaf.dirtySince;
        if (since !== undefined && (!oldest || since < oldest.since)) oldest = { page, leaf, since };
      }
    });
    return oldest;
  }

  /**
   * Moves every cell of a page that nobody is changing now. Both the decided state and what the next write of
   * the page makes durable change at once. @returns the cells that become free
   */
  transform(number: number, move: (cell: CellState) => CellState): number[] {
    const page = this.page(number);
    const freed: number[] = [];
    page.durable.forEach((word, i) => {
      if (page.words[i] !== word || !isEndedWord(word)) return;
      const state = move(fromWord(word));
      page.durable[i] = this.set(page.first + i, state);
      if (state === FREE) freed.push(page.first + i);
    });
    return freed;
  }

  get hasFree(): boolean {
    return this.#free.length > 0;
  }

  /** Takes a free cell out of the list; `undefined` when there is none. */
  pick(): number | undefined {
    const cell = this.#free.pop();
    if (cell !== undefined) this.#picked.add(cell);
    return cell;
  }

  /** Puts cells back on the list: those that nobody reserved, or that have become free. */
  free(cells: readonly number[]): void {
    for (const cell of cells) this.#free.push(cell);
  }

  /** @returns whether the cell was picked */
  unpick(cell: number): boolean {
    return this.#picked.delete(cell);
  }

  /**
   * Whether a page has cells whose records are still sealed under its key although their account has ended.
   */
  hasEnded(number: number): boolean {
    return this.page(number).words.some(isEndedWord);
  }

  /** The live cells of a page. */
  liveCells(number: number): number[] {
    const { first, words } = this.page(number);
    const live: number[] = [];
    words.forEach((word, i) => {
      if (isLiveWord(word)) live.push(first + i);
    });
    return live;
  }

  /** Cells that unfinished registrations have reserved. */
  reserved(): number[] {
    const reserved = toWord(RESERVED);
    return this.#pages.flatMap(({ first, words }) => {
      const found: number[] = [];
      words.forEach((word, i) => {
        if (word === reserved) found.push(first + i);
      });
      return found;
    });
  }

  #count(word: Word, by: number): void {
    if (isFreeWord(word)) this.counts.free += by;
    else if (isLiveWord(word)) this.counts.live += by;
    else this.counts[fromWord(word).state === 'locked' ? 'locked' : 'dead'] += by;
  }
}
