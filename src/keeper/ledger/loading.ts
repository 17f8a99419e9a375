import { PAGE_KEY_PREFIX } from '../pkcs11/index.js';
import type { Attempts } from './attempts.js';
import { LedgerCorrupt } from './errors.js';
import type { Journal } from './journal.js';
import { checkMark } from './mark.js';
import type { Pages } from './pages.js';
import { keyLabel } from './rotation.js';
import { DEAD, givenBack, type Word } from './state.js';
import type { LedgerStore } from './store.js';
import { type TakenOver, takeOver } from './take-over.js';

/** Takes the ledger over and fills the memory with it, at the start and after each failure. */
export class Loading {
  constructor(
    private readonly store: LedgerStore,
    private readonly pages: Pages,
    private readonly attempts: Attempts,
    private readonly journal: Journal,
  ) {}

  /**
   * @param limit that a ledger of version 2 was used with @param mark the newest that is remembered outside the token
   * @throws LedgerCorrupt when the ledger is not whole, or older than the mark or what was acknowledged; what the token threw
   */
  async load(limit: number, mark: Uint8Array | undefined): Promise<void> {
    const taken = await takeOver(this.store, this.journal.writer, { limit, known: mark !== undefined });
    if (taken.sequence < this.journal.sequence)
      throw new LedgerCorrupt('the token holds counters older than those that were acknowledged');
    if (mark) await checkMark((data) => this.store.mac(data), mark, taken);
    const orphans = await this.#orphanedKeys(taken);
    const ours = taken.term === this.journal.term;
    this.pages.load(taken.pages);
    this.journal.begin({ ...taken, term: taken.term + 1 });
    if (taken.upgrade) for (const [page] of taken.pages.entries()) await this.journal.writePage(page);
    await this.#tidy(this.attempts.due(taken.sequence, ours));
    this.attempts.settled(ours);
    for (const handle of taken.superseded) await this.store.destroyData(handle);
    for (const label of orphans) await this.store.destroyPageKey(label);
  }

  /**
   * @returns keys of no page: a crash while one was made leaves it so, whole or not
   * @throws LedgerCorrupt when a page lacks its key, or that was altered
   */
  async #orphanedKeys({ pages }: TakenOver): Promise<string[]> {
    const needed = new Set(
      pages.flatMap(({ generation, next }, page) =>
        [generation, next].filter((one) => one).map((one) => keyLabel(page, one)),
      ),
    );
    const present = await this.store.listPageKeys(PAGE_KEY_PREFIX);
    const labels = new Set(present.map(({ label }) => label));
    const missing = [...needed].find((label) => !labels.has(label));
    if (missing) throw new LedgerCorrupt(`the token lacks the page key ${missing}`);
    const altered = present.find(({ label, fault }) => fault && needed.has(label));
    if (altered)
      throw new LedgerCorrupt(
        `the page key ${altered.label} is not the one that was made: ${altered.fault}. Somebody who has the PIN altered or copied it`,
      );
    return [...labels].filter((label) => !needed.has(label));
  }

  /** Closes what was reserved, and gives back what is owed. The first write of the new writer. */
  async #tidy(owed: readonly number[]): Promise<void> {
    const changes = new Map<number, Word>();
    for (const cell of this.pages.reserved()) changes.set(cell, this.pages.set(cell, DEAD));
    for (const cell of owed) {
      const stored = this.pages.get(cell);
      if (stored.state === 'live') changes.set(cell, this.pages.set(cell, givenBack(stored)));
    }
    const all = [...changes];
    do await this.journal.append(new Map(all.splice(0, this.journal.room)));
    while (all.length > 0);
  }
}
