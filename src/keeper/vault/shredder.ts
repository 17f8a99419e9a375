import { setTimeout } from 'node:timers/promises';
import type { Ledger, Rotation } from '../ledger/index.js';
import { audit } from '../log/index.js';
import { shreddedPages } from '../metrics/index.js';
import type { Records, Row } from '../records/index.js';
import type { Rows } from './rows.js';

/** What became of a page. */
export interface Shredded {
  readonly page: number;
  /** records sealed again under the page's new key */
  readonly moved: number;
  /** live counters whose record the database lacks, or that the old key does not open */
  readonly lost: number;
  /**
   * whether the old key was destroyed; it is kept while a record is lost, because otherwise putting the
   * record back would be useless
   */
  readonly done: boolean;
}

/** What the vault lends to the shredder. */
export interface Shreddable {
  readonly rows: Rows;
  readonly ledger: Ledger;
  readonly records: Records;
  /** ends a row whose cell is not live */
  endIfEnded(row: Row): Promise<void>;
  /** whether an exchange between two messages still needs the rotation's old generation */
  holds(rotation: Rotation): boolean;
  /** resolves when the requests that are under way now have ended */
  settled(): Promise<unknown>;
  readonly signal: AbortSignal;
}

const POLL_MS = 250;

/**
 * Seals a page's living records again under a fresh key and destroys the old one, while the vault serves.
 * Then what an ended account left in any copy of the database cannot be opened any more. No account's key is
 * unwrapped for this. @param abandonLost give up the accounts whose records are lost, instead of keeping the
 * old key for them
 */
export async function shred(vault: Shreddable, page: number, abandonLost: boolean): Promise<Shredded> {
  const { ledger, records, signal } = vault;
  const rotation = await ledger.beginRotation(page);
  const refused = new Set<number>();
  let moved = 0;
  const moveAll = async (): Promise<number> => {
    let found = 0;
    for await (const rows of rowsOf(records, rotation, rotation.from)) {
      signal.throwIfAborted();
      const left = rows.filter(({ cell }) => !refused.has(cell));
      found += left.length;
      moved += await move(vault, rotation, left, refused);
    }
    return found;
  };
  for (;;) {
    if ((await moveAll()) > 0) continue;
    if (vault.holds(rotation)) {
      await setTimeout(POLL_MS);
      signal.throwIfAborted();
      continue;
    }
    // A request that began earlier may still write a record, or use one that it has read.
    await vault.settled();
    if (!vault.holds(rotation) && (await moveAll()) === 0) break;
  }

  const lost = await lostCells(vault, rotation);
  if (lost.length > 0 && !abandonLost) return { page, moved, lost: lost.length, done: false };
  await ledger.retire(lost.map((cell) => ({ cell, generation: rotation.to })));
  for await (const rows of rowsOf(records, rotation, rotation.from))
    for (const row of rows) await records.delete(row);
  await ledger.finishRotation(rotation);
  shreddedPages.inc();
  audit('page key destroyed', { page, moved, lost: lost.length });
  return { page, moved, lost: lost.length, done: true };
}

/** @param refused gets the cells of rows that the old key does not open @returns how many were moved */
async function move(
  vault: Shreddable,
  { from, to }: Rotation,
  found: readonly Row[],
  refused: Set<number>,
): Promise<number> {
  const sealed = await Promise.all(
    found.map(async (row) => {
      if (vault.ledger.state(row).state !== 'live') {
        await vault.endIfEnded(row);
        return undefined;
      }
      const opened = await vault.rows.open(row);
      if (opened) return vault.rows.seal({ ...row, generation: to }, opened);
      refused.add(row.cell);
      return undefined;
    }),
  );
  // A row that was ended meanwhile is not put back.
  return vault.records.replace(
    sealed.filter((row) => row !== undefined),
    from,
  );
}

/** How many rows are read, and how many are sealed, at once: a page has many. */
const READ_CELLS = 4096;
const SEALED_ROWS = 64;

/** The rows of a page that are in a generation. */
async function* rowsOf(records: Records, { cells: [first, last] }: Rotation, generation: number) {
  for (let from = first; from <= last; from += READ_CELLS) {
    const rows = await records.inCells(from, Math.min(last, from + READ_CELLS - 1), generation);
    for (let i = 0; i < rows.length; i += SEALED_ROWS) yield rows.slice(i, i + SEALED_ROWS);
  }
}

/**
 * A record is written before its cell becomes live and deleted after the cell has ended. A record that is
 * missing in between is lost.
 */
async function lostCells({ ledger, records, rows }: Shreddable, rotation: Rotation): Promise<number[]> {
  const before = ledger.liveCells(rotation.page);
  const held = new Set<number>();
  for await (const some of rowsOf(records, rotation, rotation.to))
    for (const row of await Promise.all(some.map((one) => rows.open(one)))) if (row) held.add(row.cell);
  const after = new Set(ledger.liveCells(rotation.page));
  return before.filter((cell) => after.has(cell) && !held.has(cell));
}
