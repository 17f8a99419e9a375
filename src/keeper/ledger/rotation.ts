import { randomInt } from 'node:crypto';
import { PAGE_KEY_PREFIX, TokenError, type TokenReason } from '../pkcs11/index.js';
import type { Commits } from './commits.js';
import { LedgerUnavailable } from './errors.js';
import type { Journal } from './journal.js';
import type { Pages } from './pages.js';
import { whenMoved, whenShredded } from './state.js';
import type { LedgerStore } from './store.js';

/** The records of a page, while they are moved from one page key to another. */
export interface Rotation {
  readonly page: number;
  readonly cells: readonly [first: number, last: number];
  readonly from: number;
  readonly to: number;
}

export const keyLabel = (page: number, generation: number): string =>
  `${PAGE_KEY_PREFIX}${page}.${generation}`;
export const newGeneration = (): number => randomInt(1, 2 ** 32);

/** What makes, changes and destroys the keys of pages. */
export class PageKeys {
  constructor(
    private readonly store: LedgerStore,
    private readonly pages: Pages,
    private readonly journal: Journal,
    private readonly commits: Commits,
    private readonly pageCells: number,
  ) {}

  /**
   * Adds a page of free cells, unless another registration has done so meanwhile. @throws LedgerUnavailable,
   * also when the token has no room for the page; nothing else fails because of that
   */
  addPage(): Promise<void> {
    const isNeeded = () => !this.pages.hasFree;
    return this.#withKey(
      () => this.pages.length,
      isNeeded,
      async (generation) => {
        // Two versions of a page with the same sequence could not be told apart: an earlier try may have left one.
        await this.journal.append(new Map());
        const page = {
          first: this.pages.end,
          generation,
          next: 0,
          leaves: [],
          words: new Uint32Array(this.pageCells),
        };
        const leaves = await this.journal.newPage(this.pages.length, page).catch((error: Error) => error);
        if (leaves instanceof Error) return leaves;
        this.pages.add({ ...page, leaves });
        await this.journal.append(new Map());
        return undefined;
      },
    );
  }

  /** Gives a page a second key, to which its records are moved. Called again, it goes on with that key. */
  async begin(page: number): Promise<Rotation> {
    const rotated = this.pages.page(page);
    const isNeeded = () => !rotated.next;
    await this.#withKey(
      () => page,
      isNeeded,
      async (next) => {
        // As above.
        await this.journal.append(new Map());
        this.pages.transform(page, whenMoved);
        await this.journal.writePage(page, { next });
        await this.journal.append(new Map());
        return undefined;
      },
    );
    const { first, words, generation, next } = rotated;
    return { page, cells: [first, first + words.length - 1], from: generation, to: next };
  }

  /**
   * Ends a page's old generation once no record is left in it: destroys its key, and with it whatever a copy of the
   * database still holds. Cells that had ended when the rotation began are free again.
   */
  finish({ page, from, to }: Rotation): Promise<void> {
    return this.commits.exclusive(async () => {
      const rotated = this.pages.page(page);
      if (rotated.generation !== from || rotated.next !== to) return;
      await this.journal.append(new Map());
      const freed = this.pages.transform(page, whenShredded);
      await this.journal.writePage(page, { generation: to, next: 0 });
      // The old key is needed until the token counts the new page.
      await this.journal.append(new Map());
      await this.store.destroyPageKey(keyLabel(page, from));
      this.pages.free(freed);
    });
  }

  /**
   * Makes a page's key for `work`, if it is still needed when its turn comes. If the key cannot be made, or
   * if `work` returns an error, the ledger goes on without it, unless another program has become the writer.
   */
  async #withKey(
    page: () => number,
    isNeeded: () => boolean,
    work: (generation: number) => Promise<Error | undefined>,
  ): Promise<void> {
    const failed = await this.commits.exclusive(async () => {
      if (!isNeeded()) return undefined;
      const generation = newGeneration();
      const label = keyLabel(page(), generation);
      const made = await this.store.generatePageKey(label).catch((error: Error) => error);
      if (made) return made;
      const error = await work(generation);
      if (error) await this.store.destroyPageKey(label).catch(() => undefined);
      if (isFor(error, ['BKV_FENCED'])) throw error;
      return error;
    });
    if (failed)
      throw new LedgerUnavailable(
        isFor(failed, NO_ROOM)
          ? 'the token has no room for another page of retry counters'
          : 'the token could not make another page of retry counters',
        { cause: failed },
      );
  }
}

/** `CKR_HOST_MEMORY` and `CKR_DEVICE_MEMORY` come from devices, `BKV_NOT_WRITTEN` from the witness of files. */
const NO_ROOM: readonly TokenReason[] = ['BKV_NOT_WRITTEN', 'CKR_DEVICE_MEMORY', 'CKR_HOST_MEMORY'];

const isFor = (error: Error | undefined, reasons: readonly TokenReason[]): boolean =>
  error instanceof TokenError && reasons.includes(error.reason);
