import type { DataObject } from '../pkcs11/index.js';
import { chain } from './chain.js';
import { LedgerCorrupt } from './errors.js';
import { JOURNAL_LABEL } from './formats/frame.js';
import { cellOfV2, decodeV2Journal, decodeV2Page, V2_CELLS, type V2Page } from './formats/v2.js';
import type { PageState } from './replay.js';
import { toWord } from './state.js';

/** What a ledger of version 2 adds up to. Its pages keep their 4,064 cells each, their numbers and their keys. */
export interface Upgraded {
  readonly pages: PageState[];
  readonly sequence: bigint;
  readonly term: number;
}

/**
 * @param objects all of version 2: nothing authenticates them
 * @param limit the limit that the ledger was used with
 * @throws LedgerCorrupt
 */
export function replayV2(objects: readonly DataObject[], limit: number): Upgraded {
  const journals = chain(
    objects
      .filter(({ label }) => label === JOURNAL_LABEL)
      .map(({ handle, value }) => ({ handle, ...decodeV2Journal(value) })),
    [],
  );
  const newest = journals.at(-1);
  if (!newest) throw new LedgerCorrupt('the token holds pages but no journal');
  const pages = newestPages(objects, newest.pages);
  for (const { last, changes } of journals) {
    for (const [cell, value] of changes) {
      const page = pages[Math.floor(cell / V2_CELLS)];
      if (!page) throw new LedgerCorrupt(`journal ${last} changes cell ${cell}, which no page holds`);
      if (last > page.sequence) page.values[cell % V2_CELLS] = value;
    }
  }
  return {
    pages: pages.map(({ page, generation, next, values }) => ({
      first: page * V2_CELLS,
      generation,
      next,
      leaves: [],
      words: Uint32Array.from(values, (value) => toWord(cellOfV2(value, limit))),
    })),
    sequence: newest.last,
    term: newest.term,
  };
}

function newestPages(objects: readonly DataObject[], count: number): V2Page[] {
  const found: V2Page[] = [];
  for (const { label, value } of objects) {
    if (label === JOURNAL_LABEL) continue;
    const page = decodeV2Page(value);
    if ((found[page.page]?.sequence ?? -1n) < page.sequence) found[page.page] = page;
  }
  return Array.from({ length: count }, (_, i) => {
    const page = found[i];
    if (!page) throw new LedgerCorrupt(`page ${i} is missing from the token`);
    return page;
  });
}
