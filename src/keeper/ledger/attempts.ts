import type { Cell } from './cells.js';
import type { Commit } from './commits.js';

/**
 * An attempt that is under way: spent, and neither proven, failed nor given back yet. It ends by exactly one of
 * {@link Ledger.prove}, {@link Ledger.fail} and {@link Ledger.giveBack}.
 */
export interface Attempt {
  /** those that it was spent on, the one to be proven first; none for an unknown account */
  readonly cells: readonly Cell[];
  /** of the first cell, should this one fail */
  readonly attemptsRemaining: number;
  /** resolves when the token holds it, and not before may anything leave the vault; rejects with LedgerUnavailable */
  readonly durable: Promise<void>;
}

type Spent = { readonly commit: Commit; readonly spentOn: Set<number> };

/**
 * The attempts under way, in memory. What was spent can be given back as long as the cell was not reset or closed since:
 * else it would be another one's attempt that came back.
 */
export class Attempts {
  readonly #open = new Map<Attempt, Spent>();
  readonly #byCell = new Map<number, Set<Attempt>>();
  /** given back while the token could not be written to, and what tried to write it */
  readonly #owed = new Map<Spent, Commit | undefined>();

  add(attempt: Attempt, commit: Commit): void {
    this.#open.set(attempt, { commit, spentOn: new Set(attempt.cells.map(({ cell }) => cell)) });
    for (const { cell } of attempt.cells) {
      const same = this.#byCell.get(cell) ?? new Set();
      this.#byCell.set(cell, same.add(attempt));
    }
  }

  /** How many are under way on a cell. */
  on(cell: number): number {
    return this.#byCell.get(cell)?.size ?? 0;
  }

  /** Ends an attempt. @returns those of its cells on which it still counts as spent; nothing when it had ended already */
  end(attempt: Attempt): { cells: Cell[]; spent: Spent | undefined } {
    const spent = this.#open.get(attempt);
    this.#open.delete(attempt);
    for (const { cell } of attempt.cells) {
      const same = this.#byCell.get(cell);
      same?.delete(attempt);
      if (same?.size === 0) this.#byCell.delete(cell);
    }
    return { cells: attempt.cells.filter(({ cell }) => spent?.spentOn.has(cell)), spent };
  }

  /** A cell was reset or closed: what was spent on it before is given back no more. */
  reset(cell: number): void {
    for (const attempt of this.#byCell.get(cell) ?? []) this.#open.get(attempt)?.spentOn.delete(cell);
    for (const { spentOn } of this.#owed.keys()) spentOn.delete(cell);
  }

  /** To be given back once the token can be written to. @param tried a write that may have done so */
  owe(spent: Spent, tried?: Commit): void {
    this.#owed.set(spent, tried);
  }

  /**
   * The cells that an attempt is owed to, one entry for each.
   * @param sequence the token's newest change @param ours whether no other program has written
   */
  due(sequence: bigint, ours: boolean): number[] {
    if (!ours) return [];
    const holds = (commit?: Commit): boolean => (commit?.sequence() ?? sequence + 1n) <= sequence;
    return [...this.#owed].flatMap(([{ commit, spentOn }, tried]) =>
      holds(commit) && !holds(tried) ? [...spentOn] : [],
    );
  }

  /** What was owed is given back, or cannot be. */
  settled(ours: boolean): void {
    this.#owed.clear();
    if (!ours) for (const { spentOn } of this.#open.values()) spentOn.clear();
  }
}
