import { PAGE_KEY_PREFIX } from '../pkcs11/index.js';
import type { Attempts } from './attempts.js';
import { LedgerCorrupt } from './errors.js';
import type { Journal } from './journal.js';
import { checkMark, type KeptMark } from './mark.js';
import type { Pages } from './pages.js';
import { keyLabel } from './rotation.js';
import { DEAD, type Word } from './state.js';
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
   * @param limit the limit that a ledger of version 2 was used with @param marks those that are kept outside
   * the token
   * @throws LedgerCorrupt when the ledger is not whole, or older than a mark or what was acknowledged; what
   * the token threw
   */
  async load(limit: number, marks: readonly KeptMark[]): Promise<void> {
    const taken = await takeOver(this.store, this.journal.writer, { limit, known: marks.length > 0 });
    if (taken.sequence < this.journal.sequence)
      throw new LedgerCorrupt('the token holds counters older than those that were acknowledged');
    for (const mark of marks) await checkMark((data) => this.store.mac(data), mark, taken);
    const orphans = await this.#orphanedKeys(taken);
    const ours = this.journal.isNewest(taken.tag);
    this.pages.load(taken.pages);
    this.journal.begin({ ...taken, term: taken.term + 1 });
    if (taken.upgrade) for (const [page] of taken.pages.entries()) await this.journal.writePage(page);
    this.attempts.found(taken.sequence, ours);
    for (const handle of taken.uncounted) await this.store.destroyData(handle);
    await this.#tidy();
    for (const handle of taken.superseded) await this.store.destroyData(handle);
    for (const label of orphans) await this.store.destroyPageKey(label);
  }

  /**
   * @returns keys without a page, whole or not: a crash leaves one while it is being made
   * @throws LedgerCorrupt when a page lacks its key, or when its key was altered
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

  /** Closes what was reserved. The first write of the new writer writes the newest journal again. */
  async #tidy(): Promise<void> {
    const reserved = this.pages.reserved().map((cell): [number, Word] => [cell, this.pages.set(cell, DEAD)]);
    await this.journal.append(new Map(reserved.splice(0, this.journal.left)));
    while (reserved.length > 0) await this.journal.append(new Map(reserved.splice(0, this.journal.room)));
  }
}
