import { type Attempt, type Attempts, movesOf, type Owed } from './attempts.js';
import type { Cell, Cells } from './cells.js';
import type { Commits } from './commits.js';
import { CellClosed } from './errors.js';
import { isExhausted, type Live, LOCKED, spent } from './state.js';

/** Takes an attempt from being spent to its end. {@link Ledger} describes each step. */
export class Spending {
  constructor(
    private readonly cells: Cells,
    private readonly attempts: Attempts,
    private readonly commits: Commits,
  ) {}

  spend(cells: readonly Cell[]): Attempt {
    // If the attempt cannot be counted now, it was never spent. So it cannot be given back either.
    this.commits.assertUsable();
    const [first] = cells;
    const now = first && this.cells.stored(first);
    if (now && now.state !== 'live') throw new CellClosed(now.state);
    if (now && isExhausted(now)) throw new CellClosed('exhausted');
    const spendable = this.cells.live(cells).filter(([, live]) => !isExhausted(live));
    const commit = this.cells.decide(spendable.map(([cell, live]) => [cell, spent(live)]));
    const attempt = {
      cells: spendable.map(([{ cell, generation }]) => ({ cell, generation })),
      attemptsRemaining: now ? now.limit - now.used - 1 : 0,
      durable: commit.durable,
    };
    this.attempts.add(attempt, commit);
    return attempt;
  }

  async giveBack(attempt: Attempt): Promise<void> {
    const back = this.attempts.giveBack(attempt);
    if (back && !this.commits.broken) await this.#carry(back);
  }

  async prove(attempt: Attempt): Promise<number> {
    const [first] = attempt.cells;
    if (!first) throw new CellClosed('free');
    const now = this.cells.stored(first);
    const used = now.state === 'live' ? now.used : 0;
    const proof = this.attempts.isProven(attempt) ? undefined : this.attempts.prove(attempt, used);
    try {
      this.cells.assert('live', first);
    } catch (error) {
      if (error instanceof CellClosed) {
        // Until the token holds what closed it, the cell may become live again, and the proof is owed.
        await this.commits.durable();
        this.attempts.end(attempt);
      }
      throw error;
    }
    if (proof) await this.#carry(proof);
    return this.attempts.failedBefore(attempt);
  }

  /** Carries all that is owed, now that the token was read again. */
  async carryOwed(): Promise<void> {
    await Promise.all(this.attempts.owed.map((one) => this.#carry(one)));
  }

  async fail(attempt: Attempt): Promise<Cell[]> {
    this.attempts.end(attempt);
    const spentUp = this.cells
      .live(attempt.cells)
      .filter(([{ cell }, live]) => isExhausted(live) && this.attempts.on(cell) === 0);
    const locked = spentUp.map(([cell]) => cell);
    if (locked.length > 0) await this.#lock(locked);
    return locked;
  }

  async lock(cell: Cell): Promise<void> {
    this.cells.assert('live', cell);
    const live = this.cells.stored(cell) as Live;
    if (!isExhausted(live) || this.attempts.on(cell.cell) > 0)
      throw new CellClosed(isExhausted(live) ? 'exhausted' : 'live');
    await this.#lock([cell]);
  }

  /**
   * Carries what is owed to the token, only once. If that fails, it stays owed, and is carried when the token is
   * read again.
   */
  async #carry(owed: Owed): Promise<void> {
    owed.commit ??= this.cells.decide(this.cells.moved(movesOf(owed)));
    await owed.commit.durable;
    this.attempts.settle(owed);
  }

  async #lock(cells: readonly Cell[]): Promise<void> {
    await this.cells.decide(cells.map((cell) => [cell, LOCKED])).durable;
  }
}
