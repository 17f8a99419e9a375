import type { Cell } from './cells.js';
import type { Commit } from './commits.js';
import { givenBack, type Live, proven } from './state.js';

/**
 * An attempt that is under way: spent, and neither proven, failed nor given back yet. It ends by exactly one
 * of {@link Ledger.prove}, {@link Ledger.fail} and {@link Ledger.giveBack}. A proof ends it only once the
 * token holds the proof.
 */
export interface Attempt {
  /** the cells that it was spent on; first the one to be proven; none for an unknown account */
  readonly cells: readonly Cell[];
  /** what the first cell has left if this attempt fails */
  readonly attemptsRemaining: number;
  /**
   * resolves when the token holds the attempt; nothing may leave the vault before; rejects with
   * LedgerUnavailable
   */
  readonly durable: Promise<void>;
}

type Spent = { readonly commit: Commit; readonly spentOn: Set<number> };

/** A cell, and what becomes of it if it is live. */
export type Move = readonly [Cell, (live: Live) => Live];

/** A proof, or an attempt that is given back, which the token is not known to hold yet. */
export interface Owed {
  readonly attempt: Attempt;
  readonly spent: Spent;
  readonly proves: boolean;
  /** carries it to the token; none if the token was read again since */
  commit: Commit | undefined;
}

/** A proof gives the first cell all its attempts back, and the others only this one. */
export function movesOf({ attempt, spent, proves }: Owed): Move[] {
  const [first] = attempt.cells;
  return attempt.cells.flatMap((cell): Move[] => {
    if (proves && cell === first) return [[cell, proven]];
    return spent.spentOn.has(cell.cell) ? [[cell, givenBack]] : [];
  });
}

/**
 * The attempts under way, in memory. What was spent can be given back only if the cell was not reset since. Otherwise
 * somebody else's attempt would be given back.
 */
export class Attempts {
  readonly #open = new Map<Attempt, Spent>();
  readonly #byCell = new Map<number, Set<Attempt>>();
  readonly #owed = new Map<Attempt, Owed>();
  /** attempts whose proof the token holds */
  readonly #proven = new WeakSet<Attempt>();
  /** for each proof, how many attempts had failed before it */
  readonly #failed = new WeakMap<Attempt, number>();

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

  /** Whether the token lacks a proof, or an attempt that is given back. */
  get owes(): boolean {
    return this.#owed.size > 0;
  }

  /** What the token lacks, in the order in which it was owed. */
  get owed(): Owed[] {
    return [...this.#owed.values()];
  }

  /** Ends an attempt: nothing is owed to it. */
  end(attempt: Attempt): void {
    this.#close(attempt);
    this.#owed.delete(attempt);
  }

  /** Ends an attempt, and owes it back. @returns nothing if it had ended already */
  giveBack(attempt: Attempt): Owed | undefined {
    const spent = this.#open.get(attempt);
    if (!spent) return undefined;
    this.#close(attempt);
    return this.#owe({ attempt, spent, proves: false, commit: undefined });
  }

  /**
   * Owes an attempt its proof. The attempt is under way until the proof is {@link settle settled}.
   * @param used attempts that are spent on its first cell
   */
  prove(attempt: Attempt, used: number): Owed {
    const before = this.#owed.get(attempt);
    if (before) return before;
    const spent = this.#open.get(attempt) ?? NOTHING_SPENT;
    const [first] = attempt.cells;
    if (first) {
      if (!this.#failed.has(attempt))
        this.#failed.set(attempt, Math.max(0, used - this.#notFailed(first.cell)));
      this.#reset(first.cell);
    }
    return this.#owe({ attempt, spent, proves: true, commit: undefined });
  }

  /** For a proven attempt: how many attempts on its first cell had failed since the previous proof. */
  failedBefore(attempt: Attempt): number {
    return this.#failed.get(attempt) ?? 0;
  }

  /** Whether the token holds the proof of an attempt. */
  isProven(attempt: Attempt): boolean {
    return this.#proven.has(attempt);
  }

  /** The token holds what was owed. */
  settle({ attempt, proves }: Owed): void {
    if (proves) this.#proven.add(attempt);
    this.end(attempt);
  }

  /** A proof resets a cell: what was spent on it before is no longer given back. */
  #reset(cell: number): void {
    for (const attempt of this.#byCell.get(cell) ?? []) this.#open.get(attempt)?.spentOn.delete(cell);
    for (const { spent } of this.owed) spent.spentOn.delete(cell);
  }

  /**
   * Takes in what the token was found to hold. An attempt that the token does not hold was never counted, so
   * it is not given back.
   * @param sequence the token's newest change @param ours whether no other program has written
   */
  found(sequence: bigint, ours: boolean): void {
    const holds = (change: bigint | undefined): boolean => ours && change !== undefined && change <= sequence;
    const { owed } = this;
    for (const { commit, spentOn } of [...this.#open.values(), ...owed.map(({ spent }) => spent)])
      if (!holds(commit.sequence())) spentOn.clear();
    for (const one of owed) {
      if (holds(one.commit?.sequence())) this.settle(one);
      else if (!ours) this.end(one.attempt);
      // The token's next change gets the sequence of the one that failed.
      one.commit = undefined;
    }
  }

  /**
   * Attempts that are counted on a cell and have not failed: under way, or still to be given back. Once it is decided that
   * one is given back, it is not counted any more.
   */
  #notFailed(cell: number): number {
    const underWay = [...(this.#byCell.get(cell) ?? [])].flatMap((attempt) => this.#open.get(attempt) ?? []);
    const spent = new Set([...underWay, ...this.owed.map((one) => one.spent)]);
    for (const one of this.owed) if (one.commit) spent.delete(one.spent);
    return [...spent].filter(({ spentOn }) => spentOn.has(cell)).length;
  }

  #close(attempt: Attempt): void {
    this.#open.delete(attempt);
    for (const { cell } of attempt.cells) {
      const same = this.#byCell.get(cell);
      same?.delete(attempt);
      if (same?.size === 0) this.#byCell.delete(cell);
    }
  }

  #owe(owed: Owed): Owed {
    this.#owed.set(owed.attempt, owed);
    return owed;
  }
}

/** For an attempt that had ended before it was proven. */
const NOTHING_SPENT: Spent = {
  commit: { durable: Promise.resolve(), sequence: () => undefined },
  spentOn: new Set(),
};
