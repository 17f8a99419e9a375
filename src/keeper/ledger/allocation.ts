import type { Cell, Cells } from './cells.js';
import type { Commits } from './commits.js';
import type { Journal } from './journal.js';
import type { Pages } from './pages.js';
import type { PageKeys } from './rotation.js';
import { activated, DEAD, RESERVED } from './state.js';

/** Takes a cell from free to an account's, and to its end. {@link Ledger} describes each step. */
export class Allocation {
  constructor(
    private readonly cells: Cells,
    private readonly pages: Pages,
    private readonly commits: Commits,
    private readonly journal: Journal,
    private readonly keys: PageKeys,
  ) {}

  async pick(): Promise<Cell> {
    this.commits.assertUsable();
    for (;;) {
      const cell = this.pages.pick();
      if (cell !== undefined) {
        return { cell, generation: this.generationOf(cell) };
      }
      await this.keys.addPage();
    }
  }

  generationOf(cell: number): number {
    const { generation, next } = this.pages.page(this.pages.pageOf(cell));
    return next || generation;
  }

  release({ cell }: Cell): void {
    if (this.pages.unpick(cell) && this.#isFree(cell)) this.pages.free([cell]);
  }

  async reserve(cell: Cell): Promise<void> {
    try {
      this.cells.assert('free', cell);
    } catch (error) {
      this.release(cell);
      throw error;
    }
    this.pages.unpick(cell.cell);
    await this.cells.decide([[cell, RESERVED]]).durable;
  }

  async abandon(cell: Cell): Promise<void> {
    this.cells.assert('reserved', cell);
    await this.cells.decide([[cell, DEAD]]).durable;
  }

  async activate(
    cell: Cell,
    limit: number,
    { ends, inherits }: { ends: readonly Cell[]; inherits: readonly Cell[] },
  ): Promise<void> {
    this.cells.assert('reserved', cell);
    const used = Math.max(0, ...this.cells.live(inherits).map(([, { used }]) => used));
    await this.cells.decide([[cell, activated(limit, used)], ...this.cells.ended(ends)]).durable;
  }

  async retire(cells: readonly Cell[]): Promise<void> {
    const ended = this.cells.ended(cells);
    do await this.cells.decide(ended.splice(0, this.journal.room)).durable;
    while (ended.length > 0);
  }

  #isFree(cell: number): boolean {
    return this.pages.pageOf(cell) >= 0 && this.pages.get(cell).state === 'free';
  }
}
