import type { DataObject } from '../pkcs11/index.js';
import {
  decodeJournal,
  decodePage,
  JOURNAL_LABEL,
  type Journal,
  LedgerCorrupt,
  PAGE_LABEL,
  PAGE_SLOTS,
  type Page,
} from './format.js';

/** A page as the token holds it: its object, and the journals since. */
export interface LivePage {
  generation: number;
  next: number;
  handle: string;
  sequence: bigint;
  slots: Uint8Array;
  /** the oldest change that is only in a journal */
  dirtySince: bigint | undefined;
}

/** Journals from `first` to `last` in one object. */
export interface Segment {
  first: bigint;
  last: bigint;
  handle: string;
}

export interface Replayed {
  readonly pages: LivePage[];
  /** oldest first */
  readonly segments: Segment[];
  readonly sequence: bigint;
  readonly term: number;
  /** objects that others stand in for: a crash, or a writer that was fenced off, left them behind */
  readonly superseded: string[];
}

type Held<T> = T & { readonly handle: string };

const compare = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

/** The state that the ledger's objects in a token add up to. @throws LedgerCorrupt when one is missing or damaged */
export function replay(objects: readonly DataObject[]): Replayed {
  const superseded: string[] = [];
  const journals = chain(
    objects
      .filter(({ label }) => label === JOURNAL_LABEL)
      .map(({ handle, value }) => ({ handle, ...decodeJournal(value) })),
    superseded,
  );
  const written = objects
    .filter(({ label }) => label.startsWith(PAGE_LABEL))
    .map(({ handle, value }) => ({ handle, ...decodePage(value) }));
  const newest = journals.at(-1);
  if (!newest && written.some(({ sequence }) => sequence > 0n))
    throw new LedgerCorrupt('the token holds pages but no journal');
  const pages = newestPages(written, newest, superseded);
  for (const { first, last, changes } of journals) {
    for (const [slot, value] of changes) {
      const page = pages[Math.floor(slot / PAGE_SLOTS)];
      if (!page) throw new LedgerCorrupt(`journal ${last} changes slot ${slot}, which no page holds`);
      if (last <= page.sequence) continue;
      page.slots[slot % PAGE_SLOTS] = value;
      page.dirtySince ??= first > page.sequence ? first : page.sequence + 1n;
    }
  }
  return {
    pages,
    segments: journals.map(({ first, last, handle }) => ({ first, last, handle })),
    sequence: newest?.last ?? 0n,
    term: newest?.term ?? 0,
    superseded,
  };
}

/** The journals that count, oldest first. */
function chain(all: readonly Held<Journal>[], superseded: string[]): Held<Journal>[] {
  const newestTermFirst = all.toSorted(
    (a, b) => b.term - a.term || compare(a.first, b.first) || compare(b.last, a.last),
  );
  const kept: Held<Journal>[] = [];
  // What an older term wrote from where a newer one began was never acknowledged: its writer had been fenced off.
  let begun: bigint | undefined;
  let lowest: bigint | undefined;
  let before: Held<Journal> | undefined;
  for (const journal of newestTermFirst) {
    if (journal.term !== before?.term) begun = lowest;
    const void_ = begun !== undefined && journal.last >= begun;
    const again = journal.term === before?.term && journal.first === before.first;
    if (void_ || again) {
      superseded.push(journal.handle);
      continue;
    }
    kept.push(journal);
    before = journal;
    if (lowest === undefined || journal.first < lowest) lowest = journal.first;
  }
  kept.sort((a, b) => compare(a.first, b.first));
  const newest = kept.at(-1);
  if (!newest) return [];
  const live = kept.filter(({ last, handle }) => {
    if (last > newest.folded) return true;
    superseded.push(handle);
    return false;
  });
  let expected = newest.folded + 1n;
  for (const [i, { first, last }] of live.entries()) {
    // The oldest one may begin before: the pages hold a part of it.
    if (i === 0 ? first > expected : first !== expected)
      throw new LedgerCorrupt(`journal ${expected} is missing from the token`);
    expected = last + 1n;
  }
  return live;
}

function newestPages(
  written: readonly Held<Page>[],
  newest: Journal | undefined,
  superseded: string[],
): LivePage[] {
  const count = newest?.pages ?? 0;
  const found: Held<Page>[] = [];
  for (const page of written) {
    if (newest && page.sequence > newest.last)
      throw new LedgerCorrupt(`page ${page.page} is newer than the newest journal`);
    const other = found[page.page];
    // A page counts from the journal on that counts it; before, no slot of it was used.
    if (page.page >= count || (other && other.sequence > page.sequence)) superseded.push(page.handle);
    else {
      if (other) superseded.push(other.handle);
      found[page.page] = page;
    }
  }
  return Array.from({ length: count }, (_, i) => {
    const page = found[i];
    if (!page) throw new LedgerCorrupt(`page ${i} is missing from the token`);
    const { generation, next, handle, sequence, slots } = page;
    return { generation, next, handle, sequence, slots, dirtySince: undefined };
  });
}
