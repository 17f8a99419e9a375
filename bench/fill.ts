import type { Ledger, Slot } from '../src/keeper/ledger/index.js';

/** Registers accounts in a ledger, as many at once as a page has slots. @returns their slots */
export async function fill(ledger: Ledger, accounts: number): Promise<Slot[]> {
  const slots: Slot[] = [];
  for (let at = 0; at < accounts; at += 4000) {
    const some = await Promise.all(
      Array.from({ length: Math.min(4000, accounts - at) }, () => ledger.pick()),
    );
    await Promise.all(some.map((slot) => ledger.reserve(slot)));
    await Promise.all(some.map((slot) => ledger.activate(slot)));
    slots.push(...some);
  }
  return slots;
}
