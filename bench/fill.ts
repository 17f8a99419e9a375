import type { Cell, Ledger } from '../src/keeper/ledger/index.js';

/** Registers accounts in a ledger, thousands at once. @returns their cells */
export async function fill(ledger: Ledger, accounts: number): Promise<Cell[]> {
  const cells: Cell[] = [];
  for (let at = 0; at < accounts; at += 4000) {
    const some = await Promise.all(
      Array.from({ length: Math.min(4000, accounts - at) }, () => ledger.pick()),
    );
    await Promise.all(some.map((cell) => ledger.reserve(cell)));
    await Promise.all(some.map((cell) => ledger.activate(cell)));
    cells.push(...some);
  }
  return cells;
}
