import type { Cell, Ledger } from '../ledger/index.js';
import type { Content, Row } from '../records/index.js';
import type { Rows } from './rows.js';

/**
 * The cell and the bytes of a row that is being stored. A next try writes the same bytes into the same cell, so that a
 * database that fails again and again uses up no cells.
 */
export class Placing {
  #picked: Cell | undefined;
  #reserved: Row | undefined;

  /** @param picked a cell that was picked for it */
  constructor(
    private readonly rows: Rows,
    private readonly ledger: Ledger,
    readonly account: string,
    private readonly content: Content,
    picked?: Cell,
  ) {
    this.#picked = picked;
  }

  /** @returns the sealed row, whose cell is reserved @throws LedgerUnavailable, CellClosed, TokenError */
  async take(): Promise<Row> {
    const before = this.#reserved;
    if (before && this.#isReserved(before)) {
      if (before.generation === this.ledger.generationOf(before)) return before;
      // Nothing moves this row to its page's new key any more: the sweep waits only for what it knows.
      await this.ledger.abandon(before);
    }
    const cell = this.#picked ?? (await this.ledger.pick());
    this.#picked = cell;
    const row = await this.rows.seal({ account: this.account, ...cell }, this.content);
    this.#picked = undefined;
    await this.ledger.reserve(row);
    this.#reserved = row;
    return row;
  }

  /** A try has ended. If the cell was not reserved, somebody else may have it. */
  release(): void {
    if (this.#picked) this.ledger.release(this.#picked);
    this.#picked = undefined;
  }

  /** There is no next try. If the row was not stored, its cell becomes free with the next sweep. */
  async end(): Promise<void> {
    if (this.#reserved && this.#isReserved(this.#reserved)) await this.ledger.abandon(this.#reserved);
  }

  #isReserved(row: Row): boolean {
    return this.ledger.state(row).state === 'reserved';
  }
}
