import { createHash } from 'node:crypto';
import type { DataObject } from '../pkcs11/index.js';
import { chain, compare } from './chain.js';
import { LedgerCorrupt } from './errors.js';
import { JOURNAL_LABEL, PAGE_LABEL, tagOf } from './formats/frame.js';
import { decodeJournal, decodePage, type Journal, type PageObject } from './formats/v3.js';
import type { Word } from './state.js';

/** A run of cells whose counters are in one object of the token, and in the journals since. */
export interface Leaf {
  readonly first: number;
  readonly cells: number;
  handle: string;
  tag: Uint8Array;
  sequence: bigint;
  /** the oldest change that is only in a journal */
  dirtySince: bigint | undefined;
}

/** The cells whose records are under one key. */
export interface PageState {
  readonly first: number;
  generation: number;
  /** the generation that its records are being moved to, or 0 */
  next: number;
  leaves: Leaf[];
  readonly words: Uint32Array;
}

/** Journals from `first` to `last` in one object. */
export interface Segment {
  readonly first: bigint;
  readonly last: bigint;
  readonly handle: string;
}

/** The newest segment, with what it changed. Writing goes on in it. */
export interface OpenSegment extends Segment {
  readonly changes: ReadonlyMap<number, Word>;
}

export interface Replayed {
  readonly ledger: Uint8Array;
  readonly pages: PageState[];
  /** oldest first, the newest one left out */
  readonly segments: Segment[];
  /** none in a token without a journal */
  readonly open?: OpenSegment;
  readonly sequence: bigint;
  /** of the newest journal */
  readonly tag?: Uint8Array;
  readonly term: number;
  /** objects that others replace: a crash, or a writer that was fenced off, left them behind */
  readonly superseded: string[];
  /**
   * page objects that no journal has counted: a failed write left them behind. They go before the next journal is written,
   * which is newer than they are, as if it counted them
   */
  readonly uncounted: string[];
  /** objects of another ledger that this token's key authenticates: a ledger from before a restore */
  readonly others: string[];
}

type Held<T> = T & { readonly handle: string; readonly tag: Uint8Array };

/** What a journal says of the page objects that count. */
export function digestOf(leaves: readonly Pick<Leaf, 'tag'>[]): Uint8Array {
  const hash = createHash('sha256');
  for (const { tag } of leaves) hash.update(tag);
  return hash.digest();
}

/**
 * The state that the ledger's objects in a token add up to.
 * @param objects all of version 3, authenticated
 * @returns undefined when there is no journal among them
 * @throws LedgerCorrupt when one is missing, or older than the journals say
 */
export function replay(objects: readonly DataObject[]): Replayed | undefined {
  const superseded: string[] = [];
  const all = objects
    .filter(({ label }) => label === JOURNAL_LABEL)
    .map((object) => held(object, decodeJournal));
  const newestOfAll = all.toSorted((a, b) => compare(b.last, a.last))[0];
  if (!newestOfAll) return undefined;
  const isOurs = ({ ledger }: { ledger: Uint8Array }) => Buffer.from(ledger).equals(newestOfAll.ledger);
  const journals = chain(all.filter(isOurs), superseded);
  const newest = journals.at(-1) as Held<Journal>;
  const written = objects
    .filter(({ label }) => label.startsWith(PAGE_LABEL))
    .map((object) => held(object, decodePage));
  const ours = written.filter(isOurs);
  const late = ours.filter(({ sequence }) => sequence >= newest.last);
  const candidates = ours.filter(({ sequence }) => sequence < newest.last);
  const pages = toPages(choose(candidates, newest, superseded));
  for (const journal of journals) apply(journal, pages);
  return {
    ledger: newest.ledger,
    pages,
    segments: journals.slice(0, -1).map(({ first, last, handle }) => ({ first, last, handle })),
    open: newest,
    sequence: newest.last,
    tag: newest.tag,
    term: newest.term,
    superseded,
    uncounted: late.map(({ handle }) => handle),
    others: [...all, ...written].filter((object) => !isOurs(object)).map(({ handle }) => handle),
  };
}

const held = <T>({ handle, value }: DataObject, decode: (value: Uint8Array) => T): Held<T> => ({
  handle,
  tag: tagOf(value),
  ...decode(value),
});

/**
 * The page objects that the newest journal counts. An object that an older writer left behind, or that
 * somebody put back, may lie beside those that count. Such objects are found by leaving out each candidate in
 * turn. Pages that could not be added lie behind those that count.
 */
function choose(
  written: readonly Held<PageObject>[],
  newest: Held<Journal>,
  superseded: string[],
): Held<PageObject>[] {
  const candidates = written.toSorted((a, b) => compare(b.sequence, a.sequence) || b.term - a.term);
  const isCounted = (chosen: readonly Held<PageObject>[]) =>
    chosen.length === newest.objects && Buffer.from(digestOf(chosen)).equals(newest.digest);
  const newestFirst = newestOfEach(candidates).slice(0, newest.objects);
  let found = isCounted(newestFirst) ? newestFirst : undefined;
  for (const left of newestFirst) {
    if (found || candidates.length === newestFirst.length) break;
    const others = newestOfEach(candidates.filter((one) => one !== left)).slice(0, newest.objects);
    if (isCounted(others)) found = others;
  }
  if (!found) throw uncounted(newestFirst, newest);
  for (const one of written) if (!found.includes(one)) superseded.push(one.handle);
  return found;
}

/** The objects in the order of their cells. If several have the same cells, the first one given is taken. */
function newestOfEach(newestFirst: readonly Held<PageObject>[]): Held<PageObject>[] {
  const chosen: Held<PageObject>[] = [];
  const endOf = ({ first, words }: PageObject): number => first + words.length;
  for (const one of newestFirst) {
    const overlaps = chosen.some((other) => one.first < endOf(other) && other.first < endOf(one));
    if (!overlaps) chosen.push(one);
  }
  return chosen.sort((a, b) => a.first - b.first);
}

function uncounted(chosen: readonly Held<PageObject>[], newest: Journal): LedgerCorrupt {
  let expected = 0;
  for (const { page, first, words } of chosen) {
    if (first > expected)
      return new LedgerCorrupt(
        `cells ${expected} to ${first - 1} (before page ${page}) are missing from the token`,
      );
    expected = first + words.length;
  }
  if (chosen.length === 0)
    return new LedgerCorrupt(
      `the token holds none of the ${newest.objects} page objects that the newest journal counts`,
    );
  if (chosen.length < newest.objects)
    return new LedgerCorrupt(
      `${newest.objects - chosen.length} of ${newest.objects} page objects are missing from the token: those from cell ${expected} on`,
    );
  return new LedgerCorrupt(
    'the page objects in the token are not those that the newest journal counts: an older one stands in the place of one',
  );
}

function toPages(objects: readonly Held<PageObject>[]): PageState[] {
  const pages: PageState[] = [];
  for (const [i, object] of objects.entries()) {
    if (objects[i - 1]?.page === object.page) continue;
    const parts = objects.filter(({ page }) => page === object.page);
    const words = new Uint32Array(parts.reduce((sum, part) => sum + part.words.length, 0));
    for (const part of parts) words.set(part.words, part.first - object.first);
    pages.push({
      first: object.first,
      generation: object.generation,
      next: object.next,
      words,
      leaves: parts.map(({ first, words, handle, tag, sequence }) => ({
        first,
        cells: words.length,
        handle,
        tag,
        sequence,
        dirtySince: undefined,
      })),
    });
  }
  return pages;
}

/** Adds what a journal changed. */
function apply({ first, last, changes }: Journal, pages: readonly PageState[]): void {
  for (const [cell, word] of changes) {
    const page = pages.find((one) => cell >= one.first && cell < one.first + one.words.length);
    const leaf = page && leafOf(page, cell);
    if (!leaf) throw new LedgerCorrupt(`journal ${last} changes cell ${cell}, which no page holds`);
    if (last <= leaf.sequence) continue;
    page.words[cell - page.first] = word as Word;
    leaf.dirtySince ??= first > leaf.sequence ? first : leaf.sequence + 1n;
  }
}

/** @throws LedgerCorrupt when the page does not hold the cell */
export function leafOf(page: Pick<PageState, 'leaves'>, cell: number): Leaf {
  const leaf = page.leaves.find(({ first, cells }) => cell >= first && cell < first + cells);
  if (!leaf) throw new LedgerCorrupt(`no page holds cell ${cell}`);
  return leaf;
}
