import type { Attempt, Cell, CellState } from '../../src/keeper/ledger/index.js';

/** A cell as the simplest program would count it. */
export interface ModelCell {
  state: 'live' | 'dead' | 'locked';
  used: number;
  limit: number;
  proven: boolean;
  /** attempts that have failed since the last proof */
  failed: number;
  open: Set<number>;
}

/** What the ledger must do, as a map of plain counters: no journal, no pages, no crash. */
export class LedgerModel {
  readonly cells: ModelCell[] = [];
  /** attempts under way: on which cells they still count as spent */
  readonly attempts = new Map<number, { cells: number[]; spentOn: Set<number> }>();
  #next = 0;

  register(limit: number, inherits: readonly number[]): number {
    const used = Math.max(
      0,
      ...inherits.map((i) => this.cell(i)).flatMap((one) => (one.state === 'live' ? one.used : [])),
    );
    const taken = Math.min(used, limit);
    this.cells.push({ state: 'live', used: taken, limit, proven: false, failed: taken, open: new Set() });
    return this.cells.length - 1;
  }

  cell(i: number): ModelCell {
    return this.cells[i] as ModelCell;
  }

  canSpend(i: number): boolean {
    const { state, used, limit } = this.cell(i);
    return state === 'live' && used < limit;
  }

  spend(cells: readonly number[]): number {
    const spentOn = cells.filter((i) => this.canSpend(i));
    const attempt = this.#next++;
    for (const i of spentOn) {
      this.cell(i).used++;
      this.cell(i).open.add(attempt);
    }
    this.attempts.set(attempt, { cells: spentOn, spentOn: new Set(spentOn) });
    return attempt;
  }

  #end(attempt: number) {
    const ended = this.attempts.get(attempt) as { cells: number[]; spentOn: Set<number> };
    this.attempts.delete(attempt);
    for (const i of ended.cells) this.cell(i).open.delete(attempt);
    return ended;
  }

  #reset(i: number): void {
    for (const { spentOn } of this.attempts.values()) spentOn.delete(i);
  }

  giveBack(attempt: number): void {
    for (const i of this.#end(attempt).spentOn) if (this.cell(i).state === 'live') this.cell(i).used--;
  }

  /** @returns how many attempts had failed; `undefined` when the first cell was not live */
  prove(attempt: number): number | undefined {
    const { cells, spentOn } = this.#end(attempt);
    const first = cells[0] as number;
    const { state, failed } = this.cell(first);
    if (state !== 'live') return undefined;
    this.#reset(first);
    Object.assign(this.cell(first), { used: 0, proven: true, failed: 0 });
    for (const i of spentOn) if (i !== first && this.cell(i).state === 'live') this.cell(i).used--;
    return failed;
  }

  fail(attempt: number): void {
    const { cells, spentOn } = this.#end(attempt);
    for (const i of spentOn) this.cell(i).failed++;
    for (const i of cells) {
      const { state, used, limit, open } = this.cell(i);
      if (state === 'live' && used >= limit && open.size === 0) this.cell(i).state = 'locked';
    }
  }

  /** The counting program ends: attempts under way have failed. */
  restart(): void {
    for (const { spentOn } of this.attempts.values()) for (const i of spentOn) this.cell(i).failed++;
    for (const { open } of this.cells) open.clear();
    this.attempts.clear();
  }

  retire(i: number): void {
    if (this.cell(i).state !== 'live') return;
    this.#reset(i);
    this.cell(i).state = 'dead';
  }

  /** What the ledger must say about a cell. */
  expected(i: number): CellState {
    const { state, used, limit, proven, open } = this.cell(i);
    return state === 'live' ? { state, used, limit, proven, open: open.size } : { state };
  }
}

/** A registration under test: where the ledger keeps it, and where the model does. */
export interface Registered {
  cell: Cell;
  model: number;
}

export type Pair = { attempt: Attempt; model: number };
