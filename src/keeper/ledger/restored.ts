import {
  type BackedUpPage,
  encodeJournal,
  encodePage,
  JOURNAL_LABEL,
  PAGE_LABEL,
  PAGE_SLOTS,
  SLOT,
} from './format.js';
import { KEY_PREFIX } from './ledger.js';

/**
 * The objects of a ledger that goes on from a backup. What happened since the backup is not known, so every account
 * that could be alive has one attempt: those that were, and whoever has registered in a slot that was free. Accounts
 * that had ended stay so.
 * @param keys labels of the wrapping keys that the backup holds, also of pages newer than `pages`
 */
export function restoredLedger(pages: readonly BackedUpPage[], keys: readonly string[]) {
  const generations = new Map<number, number[]>();
  for (const label of keys) {
    const [page, generation] = label.slice(KEY_PREFIX.length).split('.').map(Number) as [number, number];
    generations.set(page, [...(generations.get(page) ?? []), generation]);
  }
  const count = Math.max(pages.length, ...[...generations.keys()].map((page) => page + 1));
  const written = Array.from({ length: count }, (_, page) => {
    const known = pages[page];
    const [first = 0, second = 0] = generations.get(page) ?? [];
    const generation = known?.generation ?? first;
    return {
      page,
      generation,
      next: known?.next || (first === generation ? second : first),
      sequence: 1n,
      slots: known ? known.slots.map(oneAttempt) : new Uint8Array(PAGE_SLOTS).fill(SLOT.last),
    };
  });
  const journal = { first: 1n, last: 1n, folded: 0n, term: 1, pages: count, changes: new Map() };
  return [
    ...written.map((page) => ({ label: PAGE_LABEL + page.page, value: encodePage(page) })),
    { label: JOURNAL_LABEL, value: encodeJournal(journal) },
  ];
}

const ENDED: readonly number[] = [SLOT.dead, SLOT.locked, SLOT.shredded];
const oneAttempt = (value: number): number => (ENDED.includes(value) ? value : SLOT.last);
