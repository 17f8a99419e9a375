import type { Attempt, Attempts } from './attempts.js';
import type { Cell, Cells, Change } from './cells.js';
import type { Commits } from './commits.js';
import { CellClosed } from './errors.js';
import { givenBack, isExhausted, type Live, LOCKED, proven, spent } from './state.js';

/** An attempt's way from spent to its end. As {@link Ledger} says of each step. */
export class Spending {
  constructor(
    private readonly cells: Cells,
    private readonly attempts: Attempts,
    private readonly commits: Commits,
  ) {}

  spend(cells: readonly Cell[]): Attempt {
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
    const { cells, spent } = this.attempts.end(attempt);
    if (!spent) return;
    if (this.commits.broken) return this.attempts.owe(spent);
    const back = this.cells.decide(this.#givenBack(cells));
    await back.durable.catch((error) => {
      this.attempts.owe(spent, back);
      throw error;
    });
  }

  async prove(attempt: Attempt): Promise<void> {
    const [first] = attempt.cells;
    const { cells } = this.attempts.end(attempt);
    if (!first) throw new CellClosed('free');
    this.cells.assert('live', first);
    const others = this.#givenBack(cells.filter(({ cell }) => cell !== first.cell));
    this.attempts.reset(first.cell);
    const proof = this.cells.live([first]).map(([cell, live]): Change => [cell, proven(live)]);
    await this.cells.decide([...proof, ...others]).durable;
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

  #givenBack(cells: readonly Cell[]): Change[] {
    return this.cells.live(cells).map(([cell, live]) => [cell, givenBack(live)]);
  }

  async #lock(cells: readonly Cell[]): Promise<void> {
    for (const { cell } of cells) this.attempts.reset(cell);
    await this.cells.decide(cells.map((cell) => [cell, LOCKED])).durable;
  }
}
