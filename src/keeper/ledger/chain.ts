import { LedgerCorrupt } from './errors.js';

/** The fields that decide which journal objects count, in any version. */
export interface Link {
  readonly handle: string;
  readonly first: bigint;
  readonly last: bigint;
  readonly folded: bigint;
  readonly term: number;
}

export const compare = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * The journals that count, oldest first.
 * @param superseded gets the handles of those that others replace
 * @throws LedgerCorrupt when one is missing
 */
export function chain<T extends Link>(all: readonly T[], superseded: string[]): T[] {
  const kept = withoutVoid(all, superseded).sort((a, b) => compare(a.first, b.first));
  const newest = kept.at(-1);
  if (!newest) return [];
  const live = kept.filter(({ last, handle }) => {
    if (last > newest.folded) return true;
    superseded.push(handle);
    return false;
  });
  let expected = newest.folded + 1n;
  for (const [i, { first, last }] of live.entries()) {
    // The oldest journal may begin earlier: the pages hold a part of it already.
    if (i === 0 ? first > expected : first !== expected)
      throw new LedgerCorrupt(`journal ${expected} is missing from the token`);
    expected = last + 1n;
  }
  return live;
}

/**
 * Leaves out journals that others supersede, and journals of a writer that had been fenced off, because
 * nothing in them was acknowledged.
 */
function withoutVoid<T extends Link>(all: readonly T[], superseded: string[]): T[] {
  const newestTermFirst = all.toSorted(
    (a, b) => b.term - a.term || compare(a.first, b.first) || compare(b.last, a.last),
  );
  const kept: T[] = [];
  let begun: bigint | undefined;
  let lowest: bigint | undefined;
  let before: T | undefined;
  for (const journal of newestTermFirst) {
    if (journal.term !== before?.term) begun = lowest;
    const isVoid = begun !== undefined && journal.last >= begun;
    const again = journal.term === before?.term && journal.first === before.first;
    if (isVoid || again) {
      superseded.push(journal.handle);
      continue;
    }
    kept.push(journal);
    before = journal;
    if (lowest === undefined || journal.first < lowest) lowest = journal.first;
  }
  return kept;
}
