/**
 * What a cell can be, and how it moves from one state to the next. No I/O: the ledger decides by these functions, the
 * journal only carries what they decided.
 *
 *     free ─ reserve → reserved ─ activate → live ─ retire → dead ─┐
 *      ↑                   └────── a crash ─────────────────→ dead ─┤
 *      │                            live, exhausted ─ lock → locked ─┤
 *      └────────── the page's key is destroyed, and with it what the cell's record held ┘
 *
 * `dead` and `locked` have a twin each, `over`: the cell had ended before its page began to move to a new key. Only those
 * are free when the old key is destroyed. What ends in between may have a record under the new key.
 */
export interface Live {
  readonly state: 'live';
  /** attempts spent since the last proof */
  readonly used: number;
  /** attempts until the cell is exhausted: fixed by the registration, and never raised */
  readonly limit: number;
  /** whether its password was ever proven */
  readonly proven: boolean;
}

export type Ended = { readonly state: 'dead' | 'locked'; readonly over: boolean };
export type CellState = { readonly state: 'free' | 'reserved' } | Live | Ended;

export const FREE: CellState = { state: 'free' };
export const RESERVED: CellState = { state: 'reserved' };
export const DEAD: CellState = { state: 'dead', over: false };
export const LOCKED: CellState = { state: 'locked', over: false };

/** A registration's cell. @param used what it takes over from the account's other cells */
export const activated = (limit: number, used: number): Live => ({
  state: 'live',
  used: Math.min(used, limit),
  limit,
  proven: false,
});
export const isExhausted = ({ used, limit }: Live): boolean => used >= limit;
export const spent = (cell: Live): Live => ({ ...cell, used: cell.used + 1 });
export const givenBack = (cell: Live): Live => ({ ...cell, used: Math.max(0, cell.used - 1) });
export const proven = (cell: Live): Live => ({ ...cell, used: 0, proven: true });

/** What a cell is once its page has begun to move to another key. */
export const whenMoved = (cell: CellState): CellState =>
  cell.state === 'dead' || cell.state === 'locked' ? { ...cell, over: true } : cell;
/** What a cell is once its page's old key is destroyed. */
export const whenShredded = (cell: CellState): CellState => ('over' in cell && cell.over ? FREE : cell);

/**
 * A cell in three bytes, as pages and journals hold it: its kind, its limit, its attempts used. A live cell that is proven
 * has 0x80 in its kind; limit and used are 0 in all that are not live.
 */
export type Word = number;

const KIND = { free: 0, reserved: 1, live: 2, dead: 3, locked: 4, deadOver: 5, lockedOver: 6 } as const;
const PROVEN = 0x80;
const kindOf = (word: Word): number => word >>> 16;

export function toWord(cell: CellState): Word {
  if (cell.state === 'live')
    return ((KIND.live | (cell.proven ? PROVEN : 0)) << 16) | (cell.limit << 8) | cell.used;
  if (cell.state === 'dead' || cell.state === 'locked')
    return KIND[cell.over ? (`${cell.state}Over` as const) : cell.state] << 16;
  return KIND[cell.state] << 16;
}

/** @throws RangeError when no cell is written like that */
export function fromWord(word: Word): CellState {
  const kind = kindOf(word);
  if ((kind & ~PROVEN) === KIND.live)
    return { state: 'live', used: word & 0xff, limit: (word >> 8) & 0xff, proven: (kind & PROVEN) !== 0 };
  switch (kind) {
    case KIND.free:
      return FREE;
    case KIND.reserved:
      return RESERVED;
    case KIND.dead:
    case KIND.deadOver:
      return { state: 'dead', over: kind === KIND.deadOver };
    case KIND.locked:
    case KIND.lockedOver:
      return { state: 'locked', over: kind === KIND.lockedOver };
    default:
      throw new RangeError(`no cell is written as ${word.toString(16)}`);
  }
}

export const isFreeWord = (word: Word): boolean => word === KIND.free << 16;
export const isLiveWord = (word: Word): boolean => (kindOf(word) & ~PROVEN) === KIND.live;
/** Whether the cell has ended, but a token key still opens what its record held. */
export const isEndedWord = (word: Word): boolean => kindOf(word) >= KIND.dead && !isLiveWord(word);
