import type { Move } from './attempts.js';
import type { Commit, Commits } from './commits.js';
import { CellClosed } from './errors.js';
import type { Pages } from './pages.js';
import { DEAD, type Live, type CellState as StoredState, type Word } from './state.js';

/**
 * Where a record's counter is. The generation is that of the page's key; each cell is used once in a
 * generation.
 */
export interface Cell {
  readonly cell: number;
  readonly generation: number;
}

export type CellState =
  | (Live & {
      /** attempts under way */
      readonly open: number;
    })
  | { readonly state: Exclude<StoredState['state'], 'live'> };

/** What a cell is from now on. */
export type Change = readonly [Cell, StoredState];

/** The decided state of cells. Changes are decided here, and then carried to the token. */
export class Cells {
  constructor(
    private readonly pages: Pages,
    private readonly commits: Commits,
  ) {}

  /** `dead` when the cell's generation is over. */
  stored({ cell, generation }: Cell): StoredState {
    const number = this.pages.pageOf(cell);
    if (number < 0) return DEAD;
    const page = this.pages.page(number);
    return generation === page.generation || generation === page.next ? this.pages.get(cell) : DEAD;
  }

  /** The cells that are live, each only once. */
  live(cells: readonly Cell[]): [Cell, Live][] {
    const once = new Map(cells.map((cell) => [cell.cell, cell]));
    return [...once.values()].flatMap((cell): [Cell, Live][] => {
      const stored = this.stored(cell);
      return stored.state === 'live' ? [[cell, stored]] : [];
    });
  }

  /** What moves make of their cells, for those that are live. */
  moved(moves: readonly Move[]): Change[] {
    return moves.flatMap(([cell, move]): Change[] => {
      const stored = this.stored(cell);
      return stored.state === 'live' ? [[cell, move(stored)]] : [];
    });
  }

  /** @throws LedgerUnavailable; CellClosed when the cell is in another state */
  assert(wanted: StoredState['state'], cell: Cell): void {
    this.commits.assertUsable();
    const { state } = this.stored(cell);
    if (state !== wanted) throw new CellClosed(state);
  }

  /** The changes that end the live ones of these cells. */
  ended(cells: readonly Cell[]): Change[] {
    return this.live(cells).map(([cell]) => [cell, DEAD]);
  }

  /** Decides changes, and has them carried to the token. */
  decide(changes: readonly Change[]): Commit {
    try {
      this.commits.assertUsable();
    } catch (error) {
      return { durable: handled(Promise.reject(error)), sequence: () => undefined };
    }
    const commit = this.commits.add(
      new Map(changes.map(([{ cell }, state]): [number, Word] => [cell, this.pages.set(cell, state)])),
    );
    return { ...commit, durable: handled(commit.durable) };
  }
}

/** Marks the rejection as handled: somebody awaits it later. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}
