import { LedgerCorrupt } from '../errors.js';
import { type CellState, DEAD, FREE, LOCKED, RESERVED } from '../state.js';
import { magicOf, Reader, versionOf } from './frame.js';

/**
 * Version 2, which the first edition wrote. It is read once, and then written again as version 3. Its objects
 * carry no tag. A page has 4,064 cells, a byte each; a journal object changes cells by cell u32 ‖ value u8.
 */
export const V2_CELLS = 4064;

export interface V2Page {
  readonly page: number;
  readonly generation: number;
  readonly next: number;
  readonly sequence: bigint;
  readonly values: Uint8Array;
}

export interface V2Journal {
  readonly first: bigint;
  readonly last: bigint;
  readonly folded: bigint;
  readonly term: number;
  readonly pages: number;
  readonly changes: ReadonlyMap<number, number>;
}

export const isV2 = (value: Uint8Array): boolean =>
  (magicOf(value) === 'BKVP' || magicOf(value) === 'BKVJ') && versionOf(value) === 2;

export function decodeV2Page(value: Uint8Array): V2Page {
  const reader = new Reader('a page', value, 8);
  const [page, generation, sequence, next] = [reader.u32(), reader.u32(), reader.u64(), reader.u32()];
  reader.u32();
  return { page, generation, next, sequence, values: reader.bytes(V2_CELLS) };
}

export function decodeV2Journal(value: Uint8Array): V2Journal {
  const reader = new Reader('a journal object', value, 8);
  const [first, last, folded] = [reader.u64(), reader.u64(), reader.u64()];
  const [term, pages] = [reader.u32(), reader.u32()];
  const changes = new Map<number, number>();
  while (reader.left > 0) changes.set(reader.u32(), reader.u8());
  return { first, last, folded, term, pages, changes };
}

const [LAST, SHREDDED, RESERVED_2, DEAD_2, LOCKED_2] = [251, 252, 253, 254, 255];

/** @param limit the limit that the ledger was used with, because version 2 did not keep it */
export function cellOfV2(value: number, limit: number): CellState {
  const live = (used: number): CellState => ({
    state: 'live',
    used,
    limit: Math.max(limit, used),
    proven: false,
  });
  if (value === 0) return FREE;
  if (value <= 201) return live(value - 1);
  if (value === LAST) return live(limit - 1);
  if (value === RESERVED_2) return RESERVED;
  if (value === DEAD_2) return DEAD;
  if (value === LOCKED_2 || value === SHREDDED) return LOCKED;
  throw new LedgerCorrupt(`no cell of version 2 is written as ${value}`);
}
