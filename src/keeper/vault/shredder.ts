import { setTimeout } from 'node:timers/promises';
import type { Ledger, Rotation } from '../ledger/index.js';
import { audit } from '../log/index.js';
import { shreddedPages } from '../metrics/index.js';
import { KEY_LABELS, type Token } from '../pkcs11/index.js';
import { macInput, type Records, type Row } from '../records/index.js';

/** What became of a page. */
export interface Shredded {
  readonly page: number;
  /** records moved to the page's new wrapping key */
  readonly moved: number;
  /** live counters whose record the database lacks, or that the token does not vouch for */
  readonly lost: number;
  /** whether the old wrapping key was destroyed; not while a record is lost, since putting it back would be in vain */
  readonly done: boolean;
}

/** What the vault lends to the shredder. */
export interface Shreddable {
  readonly token: Token;
  readonly ledger: Ledger;
  readonly records: Records;
  genuine(row: Row): Promise<boolean>;
  inTurn<T>(account: string, work: () => Promise<T>): Promise<T>;
  /** whether an exchange between two messages still counts on the rotation's old generation */
  holds(rotation: Rotation): boolean;
  /** resolves when the requests that are under way now have ended */
  settled(): Promise<unknown>;
  readonly signal: AbortSignal;
}

const POLL_MS = 250;

/**
 * Moves a page's living records to a fresh wrapping key and destroys the old one, while the vault serves: what an
 * ended account left in any copy of the database then opens no more.
 * @param abandonLost give up the accounts whose records are lost, in place of keeping the old key for them
 */
export async function shred(vault: Shreddable, page: number, abandonLost: boolean): Promise<Shredded> {
  const { ledger, records, signal } = vault;
  const rotation = await ledger.beginRotation(page);
  const refused = new Set<number>();
  let moved = 0;
  const moveAll = async (): Promise<number> => {
    let found = 0;
    for await (const { account, cell } of rowsOf(records, rotation, rotation.from)) {
      if (refused.has(cell)) continue;
      signal.throwIfAborted();
      const done = await vault.inTurn(account, () => move(vault, rotation, account, cell));
      if (done === 'refused') refused.add(cell);
      if (done === 'moved') moved++;
      found++;
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
    // A request that began before may still write a record, or use one that it read.
    await vault.settled();
    if (!vault.holds(rotation) && (await moveAll()) === 0) break;
  }

  const lost = await lostCells(vault, rotation);
  if (lost.length > 0 && !abandonLost) return { page, moved, lost: lost.length, done: false };
  await ledger.retire(...lost.map((cell) => ({ cell, generation: rotation.to })));
  for await (const row of rowsOf(records, rotation, rotation.from)) await records.delete(row);
  await ledger.finishRotation(rotation);
  shreddedPages.inc();
  audit('wrapping key destroyed', { page, moved, lost: lost.length });
  return { page, moved, lost: lost.length, done: true };
}

async function move(
  { token, ledger, records, genuine }: Shreddable,
  { from, to }: Rotation,
  account: string,
  cell: number,
): Promise<'moved' | 'refused' | 'ended'> {
  const row = (await records.find(account)).find((one) => one.cell === cell && one.generation === from);
  if (!row) return 'ended';
  const { state } = ledger.state(row);
  if (state === 'locked') {
    await records.scrub(row);
    return 'ended';
  }
  if (state !== 'live') {
    await records.delete(row);
    return 'ended';
  }
  if (!(await genuine(row))) return 'refused';
  const next = { ...row, generation: to };
  const wrappedKey = await token.call('rewrap', row.wrappedKey, ledger.keyOf(row), ledger.keyOf(next));
  const mac = await token.call('hmac', KEY_LABELS.record, macInput({ ...next, wrappedKey }));
  await records.put({ ...next, wrappedKey, mac });
  return 'moved';
}

/** Rows that are read at once: a page has many. */
const READ_CELLS = 4096;

/** The rows of a page that are in a generation. */
async function* rowsOf(records: Records, { cells: [first, last] }: Rotation, generation: number) {
  for (let from = first; from <= last; from += READ_CELLS)
    yield* await records.inCells(from, Math.min(last, from + READ_CELLS - 1), generation);
}

/** A record is written before its cell becomes live and deleted after: one that is missing in between is lost. */
async function lostCells({ ledger, records, genuine }: Shreddable, rotation: Rotation): Promise<number[]> {
  const before = ledger.liveCells(rotation.page);
  const held = new Set<number>();
  for await (const row of rowsOf(records, rotation, rotation.to)) if (await genuine(row)) held.add(row.cell);
  const after = new Set(ledger.liveCells(rotation.page));
  return before.filter((cell) => after.has(cell) && !held.has(cell));
}
