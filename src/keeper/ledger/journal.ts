import type { Writer } from '../pkcs11/index.js';
import { JOURNAL_LABEL, PAGE_LABEL, seal, tagOf } from './formats/frame.js';
import { changesOf, encodeJournal, encodePage } from './formats/v3.js';
import type { Page, Pages } from './pages.js';
import { digestOf, type Leaf, type OpenSegment, type PageState, type Segment } from './replay.js';
import type { Word } from './state.js';
import type { LedgerStore } from './store.js';

/** Who writes, and where the writing begins. */
export interface Begin {
  readonly ledger: Uint8Array;
  readonly writer: Writer;
  readonly term: number;
  readonly sequence: bigint;
  readonly segments: readonly Segment[];
  readonly open?: OpenSegment;
  /** of the newest journal; none in a token without one */
  readonly tag?: Uint8Array;
}

type Open = { first: bigint; handle: string | undefined; changes: Map<number, Word> };
type Target = Pick<Leaf, 'first' | 'cells'>;

/**
 * How many full journal objects are kept before they are folded into pages. With many pages there are more,
 * so that each fold saves more.
 */
const sealedOf = (leaves: number): number => Math.max(4, leaves >> 4);

/**
 * Writes journal and pages to the token. A journal object holds the newest value of every cell that changed
 * since the object was begun, and replaces the one written before it, so that the token holds few of them. A
 * page that was written again counts from the next journal on. Writing that journal destroys the page object
 * that was replaced.
 */
export class Journal {
  readonly #store: LedgerStore;
  readonly #pages: Pages;
  readonly #objectBytes: number;
  #begin: Begin = {
    ledger: new Uint8Array(16),
    writer: { handle: '', value: new Uint8Array() },
    term: 0,
    sequence: 0n,
    segments: [],
  };
  #sealed: Segment[] = [];
  #open: Open = { first: 1n, handle: undefined, changes: new Map() };
  #sequence = 0n;
  /** tags of the newest journal that the token is known to hold, and of those tried since */
  readonly #newest = new Set<string>();
  /** objects that the next journal destroys */
  #replaced: string[] = [];

  constructor(store: LedgerStore, pages: Pages, objectBytes: number) {
    this.#store = store;
    this.#pages = pages;
    this.#objectBytes = objectBytes;
  }

  /**
   * Goes on from what the token shows. The newest journal is written again by the next {@link append}, with
   * everything that it holds: the system may show it though it never reached the disk, and lose it at a power
   * cut.
   */
  begin(begin: Begin): void {
    this.#begin = begin;
    this.#holds(begin.tag);
    this.#sequence = begin.sequence;
    this.#sealed = [...begin.segments];
    const { open } = begin;
    this.#open = {
      first: open?.first ?? begin.sequence + 1n,
      handle: open?.handle,
      changes: new Map(open?.changes),
    };
    this.#replaced = [];
  }

  get ledger(): Uint8Array {
    return this.#begin.ledger;
  }
  get term(): number {
    return this.#begin.term;
  }
  get writer(): Writer {
    return this.#begin.writer;
  }
  /** the newest change that the token is known to hold */
  get sequence(): bigint {
    return this.#sequence;
  }
  /**
   * Whether the newest journal is the one that this program wrote or read last, or may have written. Then
   * nobody else wrote since.
   */
  isNewest(tag: Uint8Array | undefined): boolean {
    return tag !== undefined && this.#newest.has(hexOf(tag));
  }
  /** journal objects in the token */
  get objects(): number {
    return this.#sealed.length + 1;
  }
  /** changes that one journal object takes */
  get room(): number {
    return changesOf(this.#objectBytes);
  }
  /** changes that the open one still takes */
  get left(): number {
    return Math.max(0, this.room - this.#open.changes.size);
  }

  /** Writes the open journal object again, with these changes. */
  async append(changes: ReadonlyMap<number, Word>): Promise<void> {
    const last = this.#sequence + 1n;
    if (this.#open.handle && this.#open.changes.size + changes.size > this.room) {
      this.#sealed.push({ first: this.#open.first, last: this.#sequence, handle: this.#open.handle });
      this.#open = { first: last, handle: undefined, changes: new Map() };
    }
    const open = this.#open;
    for (const [cell, word] of changes) open.changes.set(cell, word);
    const oldest = this.#pages.oldest();
    const folded = oldest ? oldest.since - 1n : this.#sequence;
    // Two for each journal that is written, so that no request waits long.
    const trimmed = this.#sealed.slice(0, 2).filter((segment) => segment.last <= folded);
    const leaves = this.#pages.leaves();
    const { ledger, term } = this.#begin;
    const { handle, tag } = await this.#write(
      JOURNAL_LABEL,
      encodeJournal({
        ledger,
        term,
        first: open.first,
        last,
        folded,
        objects: leaves.length,
        digest: digestOf(leaves),
        changes: open.changes,
      }),
      [...(open.handle ? [open.handle] : []), ...trimmed.map(({ handle }) => handle), ...this.#replaced],
    );
    open.handle = handle;
    this.#holds(tag);
    this.#sequence = last;
    this.#sealed.splice(0, trimmed.length);
    this.#replaced = [];
    this.#pages.commit(changes, last);
  }

  /** Writes one leaf when several journal objects are full: the one with the oldest change. */
  async fold(): Promise<void> {
    const leaves = this.#pages.all().reduce((sum, { leaves }) => sum + leaves.length, 0);
    if (this.#sealed.length <= sealedOf(leaves)) return;
    const oldest = this.#pages.oldest();
    if (oldest) await this.#writeLeaf(oldest.page, oldest.leaf);
  }

  /** Writes a whole page again, in as few objects as it fits into. It counts from the next {@link append} on. */
  async writePage(number: number, change: Partial<Pick<Page, 'generation' | 'next'>> = {}): Promise<void> {
    const page = this.#pages.page(number);
    const changed = { ...page, ...change };
    const whole = { first: page.first, cells: page.words.length };
    const leaves = await this.#writeCells(number, changed, whole);
    this.#replace(page.leaves);
    Object.assign(page, change, { leaves });
  }

  /** Writes a page that the ledger does not have yet. @returns its objects */
  newPage(number: number, page: PageState): Promise<Leaf[]> {
    const cells = { first: page.first, cells: page.words.length };
    return this.#writeCells(number, { ...page, durable: page.words }, cells);
  }

  async #writeLeaf(number: number, leaf: Leaf): Promise<void> {
    const page = this.#pages.page(number);
    const leaves = await this.#writeCells(number, page, leaf);
    this.#replace([leaf]);
    page.leaves.splice(page.leaves.indexOf(leaf), 1, ...leaves);
  }

  #replace(leaves: readonly Leaf[]): void {
    this.#replaced.push(...leaves.flatMap(({ handle }) => handle || []));
  }

  /** Writes cells of a page, into as few objects as they fit into. */
  async #writeCells(
    number: number,
    page: Pick<Page, 'first' | 'generation' | 'next' | 'durable'>,
    { first, cells }: Target,
  ): Promise<Leaf[]> {
    const { ledger, term } = this.#begin;
    const { generation, next } = page;
    const sequence = this.#sequence;
    const words = page.durable.subarray(first - page.first, first - page.first + cells);
    const content = { ledger, term, sequence, page: number, generation, next, first, words };
    const leaves: Leaf[] = [];
    for (const { body, ...part } of encodePage(content, this.#objectBytes))
      leaves.push({
        ...part,
        ...(await this.#write(PAGE_LABEL + number, body, [])),
        sequence,
        dirtySince: undefined,
      });
    for (const cell of this.#open.changes.keys())
      if (cell >= first && cell < first + cells) this.#open.changes.delete(cell);
    return leaves;
  }

  async #write(label: string, body: Uint8Array, superseded: readonly string[]) {
    const value = await seal((data) => this.#store.mac(data), label, body);
    if (label === JOURNAL_LABEL) this.#newest.add(hexOf(tagOf(value)));
    const handle = await this.#store.replaceData(label, value, superseded, this.#begin.writer);
    return { handle, tag: tagOf(value) };
  }

  #holds(tag: Uint8Array | undefined): void {
    this.#newest.clear();
    if (tag) this.#newest.add(hexOf(tag));
  }
}

const hexOf = (tag: Uint8Array): string => Buffer.from(tag).toString('hex');
