import { ledgerBatch, ledgerJournal, ledgerSlots } from '../metrics/index.js';
import type { DataObject } from '../token/index.js';
import {
  decodeJournal,
  decodePage,
  encodeJournal,
  encodePage,
  isLive,
  JOURNAL_LABEL,
  type Journal,
  LedgerCorrupt,
  live,
  PAGE_LABEL,
  PAGE_SLOTS,
  type Page,
  SLOT,
  used,
} from './format.js';

/** Where the ledger lies: the token's data objects, and one wrapping key for each page. */
export interface LedgerStore {
  createData(label: string, value: Uint8Array): Promise<string>;
  destroyData(handle: string): Promise<void>;
  listData(prefix: string): Promise<DataObject[]>;
  generateWrappingKey(label: string): Promise<void>;
  destroyWrappingKey(label: string): Promise<void>;
  listWrappingKeys(prefix: string): Promise<string[]>;
}

/** The counters cannot be written (or read back) now: nothing may leave the vault. */
export class LedgerUnavailable extends Error {
  override name = 'LedgerUnavailable';
}

/** No attempt is left, the account is locked, or the slot is not the record's any more. */
export class SlotClosed extends Error {
  override name = 'SlotClosed';
  constructor(readonly state: SlotState['state']) {
    super(`the slot is ${state}`);
  }
}

/** Where a record's counter lies. The generation is that of the page; a slot is used once in it. */
export interface Slot {
  readonly slot: number;
  readonly generation: number;
}

export type SlotState =
  | { readonly state: 'live'; readonly used: number }
  | { readonly state: 'free' | 'reserved' | 'dead' | 'locked' };

type LivePage = {
  generation: number;
  handle: string;
  sequence: bigint;
  /** what has been decided */
  slots: Uint8Array;
  /** what the token holds, pages and journal together */
  durable: Uint8Array;
  dirtySince: bigint | undefined;
};
type JournalObject = { sequence: bigint; handle: string };
type Batch = { changes: Map<number, number>; waiters: Waiter[] };
type Waiter = { resolve: () => void; reject: (error: Error) => void };

/** Changes in one journal object: it stays at about 4 KB, which small tokens take. */
const BATCH_CHANGES = 800;

const KEY_PREFIX = 'bkv.page.';

/** Label of the token key that wraps the OPRF keys of a slot's page. */
export const wrappingKeyLabel = ({ slot, generation }: Slot): string =>
  `${KEY_PREFIX}${Math.floor(slot / PAGE_SLOTS)}.${generation}`;

/**
 * The retry counters, wholly in the token: pages of one byte a slot, and a journal of the changes since.
 *
 * A change is decided on the state in memory, then waits for the journal object that carries it; changes that arrive
 * while one is being written share the next (group commit). When the journal is long, each batch also writes one page
 * anew, the one with the oldest unfolded change, so that no change pays for more than one page.
 *
 * A write that fails leaves it unknown what the token holds: the ledger refuses everything until it has read the
 * token again.
 */
export class Ledger {
  readonly #store: LedgerStore;
  readonly maxAttempts: number;
  #pages: LivePage[] = [];
  #journal: JournalObject[] = [];
  #sequence = 0n;
  #batches: Batch[] = [];
  #writing: Promise<void> | undefined;
  #broken: Error | undefined;
  #free: number[] = [];
  readonly #counts = { free: 0, live: 0, locked: 0, dead: 0 };

  private constructor(store: LedgerStore, maxAttempts: number) {
    this.#store = store;
    this.maxAttempts = maxAttempts;
  }

  /**
   * Reads pages and journal, and refuses a gap. Slots reserved by a registration that did not end are closed.
   * @param maxAttempts wrong passwords until an account is locked, 1 to 200
   * @throws LedgerCorrupt
   */
  static async open(store: LedgerStore, maxAttempts: number): Promise<Ledger> {
    const ledger = new Ledger(store, maxAttempts);
    await ledger.#load();
    return ledger;
  }

  /** What the ledger says of a slot; `dead` when the record's generation is over. */
  state({ slot, generation }: Slot): SlotState {
    const page = this.#pages[Math.floor(slot / PAGE_SLOTS)];
    if (!page || page.generation !== generation) return { state: 'dead' };
    const value = page.slots[slot % PAGE_SLOTS] as number;
    if (isLive(value)) return { state: 'live', used: used(value) };
    if (value === SLOT.free) return { state: 'free' };
    if (value === SLOT.reserved) return { state: 'reserved' };
    if (value === SLOT.locked) return { state: 'locked' };
    return { state: 'dead' };
  }

  /** A free slot, set apart in memory only: {@link reserve} or {@link release} must follow. */
  async pick(): Promise<Slot> {
    this.#assertUsable();
    if (this.#free.length === 0) await this.#addPage();
    const slot = this.#free.pop() as number;
    return { slot, generation: (this.#pages[Math.floor(slot / PAGE_SLOTS)] as LivePage).generation };
  }

  /** Gives a picked slot back that was not reserved. */
  release({ slot }: Slot): void {
    this.#free.push(slot);
  }

  /** Burns a picked slot: from here on it is this registration's or nobody's. */
  reserve({ slot }: Slot): Promise<void> {
    return this.#change([[slot, SLOT.reserved]]);
  }

  /** Makes a reserved slot the account's, and ends the ones before, in one write. */
  activate({ slot }: Slot, previous: readonly Slot[] = []): Promise<void> {
    return this.#change([
      [slot, live(0)],
      ...previous.map(({ slot }): [number, number] => [slot, SLOT.dead]),
    ]);
  }

  /**
   * Spends an attempt: decided when this returns, in the token when `durable` resolves.
   * @throws SlotClosed; `durable` rejects with LedgerUnavailable
   */
  spend(slot: Slot): { attemptsRemaining: number; durable: Promise<void> } {
    const now = this.state(slot);
    if (now.state !== 'live') throw new SlotClosed(now.state);
    if (now.used >= this.maxAttempts) throw new SlotClosed('locked');
    const durable = this.#change([[slot.slot, live(now.used + 1)]]);
    return { attemptsRemaining: this.maxAttempts - now.used - 1, durable };
  }

  /** Writes as long as {@link spend} does and changes nothing: an unknown account costs what a known one costs. */
  spendNothing(): Promise<void> {
    return this.#change([]);
  }

  /** A password was proven: all its attempts are given back. @throws SlotClosed when the slot was locked meanwhile */
  async restore(slot: Slot): Promise<void> {
    const now = this.state(slot);
    if (now.state !== 'live') throw new SlotClosed(now.state);
    await this.#change([[slot.slot, live(0)]]);
  }

  /** Closes a live slot for ever because its attempts are spent. */
  lock({ slot }: Slot): Promise<void> {
    return this.#change([[slot, SLOT.locked]]);
  }

  /** Ends slots whose account or dealing is over. */
  retire(...slots: readonly Slot[]): Promise<void> {
    return this.#change(slots.map(({ slot }): [number, number] => [slot, SLOT.dead]));
  }

  /** Waits for the write under way. */
  async close(): Promise<void> {
    await this.#writing;
  }

  /** Whether counters can be written. */
  get usable(): boolean {
    return !this.#broken;
  }

  /** Reads the token again after a write has failed. */
  async reload(): Promise<void> {
    if (this.#broken) await this.#load();
  }

  #assertUsable(): void {
    if (this.#broken)
      throw new LedgerUnavailable('the retry counters cannot be written to the token', {
        cause: this.#broken,
      });
  }

  #change(changes: readonly (readonly [number, number])[]): Promise<void> {
    try {
      this.#assertUsable();
    } catch (error) {
      return Promise.reject(error);
    }
    let batch = this.#batches.at(-1);
    if (!batch || batch.changes.size >= BATCH_CHANGES) {
      batch = { changes: new Map(), waiters: [] };
      this.#batches.push(batch);
    }
    for (const [slot, value] of changes) {
      const page = this.#pages[Math.floor(slot / PAGE_SLOTS)] as LivePage;
      const at = slot % PAGE_SLOTS;
      this.#count(page.slots[at] as number, -1);
      this.#count(value, 1);
      page.slots[at] = value;
      batch.changes.set(slot, value);
    }
    const { waiters } = batch;
    const done = new Promise<void>((resolve, reject) => waiters.push({ resolve, reject }));
    this.#writing ??= this.#write();
    return done;
  }

  async #write(): Promise<void> {
    // Changes of the same turn of the event loop share the first batch.
    await Promise.resolve();
    for (let batch = this.#batches.shift(); batch; batch = this.#batches.shift()) {
      const { changes, waiters } = batch;
      try {
        await this.#append([...changes]);
        ledgerBatch.observe(waiters.length);
        for (const waiter of waiters) waiter.resolve();
        await this.#fold();
      } catch (error) {
        this.#fail(error as Error, waiters);
      }
    }
    this.#writing = undefined;
    this.#publish();
  }

  #fail(error: Error, waiters: Waiter[]): void {
    this.#broken = error;
    const unavailable = new LedgerUnavailable('the retry counters could not be written to the token', {
      cause: error,
    });
    for (const waiter of [...waiters, ...this.#batches.flatMap((batch) => batch.waiters)])
      waiter.reject(unavailable);
    this.#batches = [];
  }

  async #append(changes: [number, number][]): Promise<void> {
    const sequence = this.#sequence + 1n;
    const journal = { sequence, folded: this.#folded(), pages: this.#pages.length, changes };
    const handle = await this.#store.createData(JOURNAL_LABEL, encodeJournal(journal));
    this.#sequence = sequence;
    this.#journal.push({ sequence, handle });
    for (const [slot, value] of changes) {
      const page = this.#pages[Math.floor(slot / PAGE_SLOTS)] as LivePage;
      page.durable[slot % PAGE_SLOTS] = value;
      page.dirtySince ??= sequence;
    }
    await this.#trim(journal.folded);
  }

  /** Every journal up to here is in the pages. */
  #folded(): bigint {
    const oldest = this.#pages.reduce<bigint | undefined>(
      (min, { dirtySince }) =>
        dirtySince === undefined || (min !== undefined && min <= dirtySince) ? min : dirtySince,
      undefined,
    );
    return oldest === undefined ? this.#sequence : oldest - 1n;
  }

  /**
   * Destroys journals that are folded, two for each that is written, so that no request waits long; the newest stays,
   * since it says how far.
   */
  async #trim(folded: bigint): Promise<void> {
    for (let n = 0; n < 2; n++) {
      const [oldest, next] = this.#journal;
      if (!oldest || !next || oldest.sequence > folded) return;
      await this.#store.destroyData(oldest.handle);
      this.#journal.shift();
    }
  }

  async #fold(): Promise<void> {
    if (this.#sequence - this.#folded() <= Math.max(32, 2 * this.#pages.length)) return;
    let number = -1;
    let oldest: bigint | undefined;
    for (const [i, { dirtySince }] of this.#pages.entries()) {
      if (dirtySince === undefined || (oldest !== undefined && oldest <= dirtySince)) continue;
      number = i;
      oldest = dirtySince;
    }
    const page = this.#pages[number];
    if (!page) return;
    const sequence = this.#sequence;
    const old = page.handle;
    page.handle = await this.#store.createData(
      `${PAGE_LABEL}${number}`,
      encodePage({ page: number, generation: page.generation, sequence, slots: page.durable }),
    );
    page.sequence = sequence;
    page.dirtySince = undefined;
    await this.#store.destroyData(old);
  }

  async #addPage(): Promise<void> {
    while (this.#writing) await this.#writing;
    if (this.#free.length > 0) return;
    const adding = this.#createPage();
    this.#writing = adding
      .then(
        () => undefined,
        (error: Error) => this.#fail(error, []),
      )
      .finally(() => {
        this.#writing = this.#batches.length > 0 ? this.#write() : undefined;
      });
    await adding;
  }

  async #createPage(): Promise<void> {
    const page = this.#pages.length;
    const generation = 1;
    const slots = new Uint8Array(PAGE_SLOTS);
    const sequence = this.#sequence;
    await this.#store.generateWrappingKey(wrappingKeyLabel({ slot: page * PAGE_SLOTS, generation }));
    const handle = await this.#store.createData(
      `${PAGE_LABEL}${page}`,
      encodePage({ page, generation, sequence, slots }),
    );
    this.#pages.push({ generation, slots, durable: slots.slice(), handle, sequence, dirtySince: undefined });
    await this.#append([]);
    this.#counts.free += PAGE_SLOTS;
    for (let i = PAGE_SLOTS - 1; i >= 0; i--) this.#free.push(page * PAGE_SLOTS + i);
    this.#publish();
  }

  async #load(): Promise<void> {
    const objects = await this.#store.listData('bkv.ledger.');
    const pages = objects
      .filter(({ label }) => label.startsWith(PAGE_LABEL))
      .map(({ handle, value }) => ({ handle, ...decodePage(value) }));
    const journal = objects
      .filter(({ label }) => label === JOURNAL_LABEL)
      .map(({ handle, value }) => ({ handle, ...decodeJournal(value) }))
      .sort((a, b) => (a.sequence < b.sequence ? -1 : 1));
    const last = journal.at(-1);
    const stale = last
      ? journal.filter(({ sequence }) => sequence <= last.folded && sequence !== last.sequence)
      : [];
    const replayed = journal.slice(stale.length);
    this.#refuseGap(replayed, last, pages);

    const current: LivePage[] = [];
    const superseded: string[] = [];
    for (const { page, handle, generation, sequence, slots } of pages) {
      const other = current[page];
      // The first page of all is written before the first journal that counts it; it has no change in it.
      if (page >= (last?.pages ?? 0)) superseded.push(handle);
      else if (!other || other.sequence < sequence) {
        if (other) superseded.push(other.handle);
        current[page] = {
          generation,
          slots,
          durable: slots.slice(),
          handle,
          sequence,
          dirtySince: undefined,
        };
      } else superseded.push(handle);
    }
    for (const { sequence, changes } of replayed) {
      for (const [slot, value] of changes) {
        const page = current[Math.floor(slot / PAGE_SLOTS)];
        if (!page) throw new LedgerCorrupt(`journal ${sequence} changes slot ${slot}, which no page holds`);
        if (sequence <= page.sequence) continue;
        page.slots[slot % PAGE_SLOTS] = value;
        page.durable[slot % PAGE_SLOTS] = value;
        page.dirtySince ??= sequence;
      }
    }
    for (const handle of [...superseded, ...stale.map(({ handle }) => handle)])
      await this.#store.destroyData(handle);
    const keys = new Set(
      current.map(({ generation }, page) => wrappingKeyLabel({ slot: page * PAGE_SLOTS, generation })),
    );
    for (const label of await this.#store.listWrappingKeys(KEY_PREFIX)) {
      if (!keys.delete(label)) await this.#store.destroyWrappingKey(label);
    }
    if (keys.size > 0) throw new LedgerCorrupt(`the token lacks the wrapping key ${[...keys][0]}`);

    this.#pages = current;
    this.#journal = replayed.map(({ sequence, handle }) => ({ sequence, handle }));
    this.#sequence = last?.sequence ?? 0n;
    this.#broken = undefined;
    Object.assign(this.#counts, { free: 0, live: 0, locked: 0, dead: 0 });
    this.#free = [];
    const reserved: [number, number][] = [];
    for (let page = current.length - 1; page >= 0; page--) {
      for (let i = PAGE_SLOTS - 1; i >= 0; i--) {
        const value = (current[page] as LivePage).slots[i] as number;
        this.#count(value, 1);
        if (value === SLOT.free) this.#free.push(page * PAGE_SLOTS + i);
        if (value === SLOT.reserved) reserved.push([page * PAGE_SLOTS + i, SLOT.dead]);
      }
    }
    if (reserved.length > 0) await this.#change(reserved);
    this.#publish();
  }

  #refuseGap(replayed: Journal[], last: Journal | undefined, pages: Page[]): void {
    if (!last) {
      if (pages.some(({ sequence }) => sequence > 0n))
        throw new LedgerCorrupt('the token holds pages but no journal');
      return;
    }
    // When all was folded, the newest journal alone is left and is itself part of what was folded.
    let expected = last.folded < last.sequence ? last.folded + 1n : last.sequence;
    for (const { sequence } of replayed) {
      if (sequence !== expected) throw new LedgerCorrupt(`journal ${expected} is missing from the token`);
      expected++;
    }
    for (let page = 0; page < last.pages; page++) {
      if (!pages.some((candidate) => candidate.page === page))
        throw new LedgerCorrupt(`page ${page} is missing from the token`);
    }
    for (const { page, sequence } of pages) {
      if (sequence > last.sequence) throw new LedgerCorrupt(`page ${page} is newer than the newest journal`);
    }
  }

  #count(value: number, by: number): void {
    if (isLive(value)) this.#counts.live += by;
    else if (value === SLOT.free) this.#counts.free += by;
    else if (value === SLOT.locked) this.#counts.locked += by;
    else this.#counts.dead += by;
  }

  #publish(): void {
    for (const [state, count] of Object.entries(this.#counts)) ledgerSlots.set({ state }, count);
    ledgerJournal.set(this.#journal.length);
  }
}
