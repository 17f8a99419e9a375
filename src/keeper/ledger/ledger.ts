import { randomBytes, randomInt } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { CodedError } from '../../protocol/index.js';
import { ledgerBatch, ledgerJournal, ledgerSlots } from '../metrics/index.js';
import { type DataObject, TokenError, type Writer } from '../pkcs11/index.js';
import {
  type BackedUpPage,
  encodeJournal,
  encodePage,
  isLive,
  JOURNAL_LABEL,
  JOURNAL_SLOTS,
  LedgerCorrupt,
  live,
  PAGE_LABEL,
  PAGE_SLOTS,
  SLOT,
  used,
  WRITER_LABEL,
} from './format.js';
import { type LivePage, replay, type Segment } from './replay.js';

/** Where the ledger lies: the token's data objects, and the wrapping keys of its pages. */
export interface LedgerStore {
  /**
   * Writes an object; once it is durable, and `writer` is still there, destroys those that it stands in for.
   * @returns its handle @throws when the `writer` object is gone: then nothing was destroyed
   */
  replaceData(
    label: string,
    value: Uint8Array,
    superseded: readonly string[],
    writer?: Writer,
  ): Promise<string>;
  /** Destroys an object; one that is gone already is no error. */
  destroyData(handle: string): Promise<void>;
  listData(prefix: string): Promise<DataObject[]>;
  /** Has {@link listData} show what other programs have written until now. Handles from before are void. */
  refresh(): Promise<void>;
  generateWrappingKey(label: string): Promise<void>;
  destroyWrappingKey(label: string): Promise<void>;
  listWrappingKeys(prefix: string): Promise<string[]>;
}

/** The counters cannot be written (or read back) now: nothing may leave the vault. */
export class LedgerUnavailable extends CodedError {
  constructor(message: string, options?: ErrorOptions) {
    super('unavailable', message, {}, options);
  }
}

/** No attempt is left, the account is locked, or the slot is not the record's any more. */
export class SlotClosed extends CodedError {
  constructor(readonly state: SlotState['state']) {
    super('unknown-exchange', `the slot is ${state}`);
  }
}

/** Where a record's counter lies. The generation is that of the page's wrapping key; a slot is used once in it. */
export interface Slot {
  readonly slot: number;
  readonly generation: number;
}

export type SlotState =
  | { readonly state: 'live'; readonly used: number }
  | { readonly state: 'free' | 'reserved' | 'dead' | 'locked' };

/** The records of a page, while they are moved from one wrapping key to another. */
export interface Rotation {
  readonly page: number;
  readonly slots: readonly [first: number, last: number];
  readonly from: number;
  readonly to: number;
}

type CountedPage = LivePage & {
  /** what the token holds, page and journals together; `slots` is what has been decided */
  durable: Uint8Array;
};
type OpenSegment = { first: bigint; handle: string | undefined; changes: Map<number, number> };
type Batch = { changes: Map<number, number>; waiters: Waiter[] };
type Waiter = { resolve: () => void; reject: (error: Error) => void };

/** Full journal objects that are kept before pages are folded. */
const SEALED = 4;

export const KEY_PREFIX = 'bkv.page.';

export const pageOf = (slot: number): number => Math.floor(slot / PAGE_SLOTS);
const keyLabel = (page: number, generation: number): string => `${KEY_PREFIX}${page}.${generation}`;
const newGeneration = (): number => randomInt(1, 2 ** 32);

/** Label of the token key that wraps the OPRF keys of a slot's page. */
export const wrappingKeyLabel = ({ slot, generation }: Slot): string => keyLabel(pageOf(slot), generation);

/**
 * The retry counters, wholly in the token: pages of one byte a slot, and a journal of the changes since.
 *
 * A change is decided on the state in memory, then waits for the journal object that carries it; changes that arrive
 * while one is being written share the next (group commit). A journal object holds the newest value of every slot that
 * changed since it was begun and stands in for the one written before it, so that the token holds few of them. When
 * several are full, each batch also writes one page anew, the one with the oldest change, so that no change pays for
 * more than one page.
 *
 * A write that fails leaves it unknown what the token holds: the ledger refuses everything until it has read the
 * token again. Of several programs on one token the last to open the ledger is its writer; a write of another fails.
 */
export class Ledger {
  readonly #store: LedgerStore;
  readonly maxAttempts: number;
  #pages: CountedPage[] = [];
  #sealed: Segment[] = [];
  #open: OpenSegment = { first: 1n, handle: undefined, changes: new Map() };
  #sequence = 0n;
  #term = 0;
  #writer: Writer = { handle: '', value: new Uint8Array() };
  #batches: Batch[] = [];
  #flushing = false;
  #turn: Promise<unknown> = Promise.resolve();
  #broken: Error | undefined;
  #free: number[] = [];
  readonly #picked = new Set<number>();
  readonly #counts = { free: 0, live: 0, locked: 0, dead: 0 };

  private constructor(store: LedgerStore, maxAttempts: number) {
    this.#store = store;
    this.maxAttempts = maxAttempts;
  }

  /**
   * Reads pages and journal, refuses a gap, and becomes the ledger's writer. Slots reserved by a registration that did
   * not end are closed.
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
    const page = this.#pages[pageOf(slot)];
    if (!page || (generation !== page.generation && generation !== page.next)) return { state: 'dead' };
    const value = page.slots[slot % PAGE_SLOTS] as number;
    if (isLive(value)) return { state: 'live', used: used(value, this.maxAttempts) };
    if (value === SLOT.free) return { state: 'free' };
    if (value === SLOT.reserved) return { state: 'reserved' };
    if (value === SLOT.locked || value === SLOT.shredded) return { state: 'locked' };
    return { state: 'dead' };
  }

  /** A free slot, set apart in memory only: {@link reserve} or {@link release} must follow. */
  async pick(): Promise<Slot> {
    this.#assertUsable();
    while (this.#free.length === 0) {
      await this.#exclusive(async () => {
        if (this.#free.length === 0) await this.#addPage();
      });
    }
    const slot = this.#free.pop() as number;
    this.#picked.add(slot);
    const page = this.#pages[pageOf(slot)] as CountedPage;
    return { slot, generation: page.next || page.generation };
  }

  /** Gives a picked slot back that was not reserved. */
  release({ slot }: Slot): void {
    const value = this.#pages[pageOf(slot)]?.slots[slot % PAGE_SLOTS];
    if (this.#picked.delete(slot) && value === SLOT.free) this.#free.push(slot);
  }

  /**
   * Burns a picked slot: from here on it is this registration's or nobody's.
   * @throws SlotClosed when another program has used it meanwhile, or its generation is over
   */
  async reserve(slot: Slot): Promise<void> {
    if (!this.#is('free', slot)) this.release(slot);
    this.#assert('free', slot);
    this.#picked.delete(slot.slot);
    await this.#change([[slot.slot, SLOT.reserved]]);
  }

  /**
   * Makes a reserved slot the account's, and ends the ones before, in one write.
   * @throws SlotClosed when it is not reserved any more
   */
  async activate(slot: Slot, previous: readonly Slot[] = []): Promise<void> {
    this.#assert('reserved', slot);
    const ended = previous.filter((one) => this.#is('live', one));
    await this.#change([
      [slot.slot, live(0)],
      ...ended.map(({ slot }): [number, number] => [slot, SLOT.dead]),
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
    this.#assert('live', slot);
    await this.#change([[slot.slot, live(0)]]);
  }

  /** Closes a live slot for ever because its attempts are spent. @throws SlotClosed when it is not live */
  async lock(slot: Slot): Promise<void> {
    this.#assert('live', slot);
    await this.#change([[slot.slot, SLOT.locked]]);
  }

  /** Ends those of the slots that are live: their account or dealing is over. */
  async retire(...slots: readonly Slot[]): Promise<void> {
    const ended = slots.filter((one) => this.#is('live', one));
    await this.#change(ended.map(({ slot }): [number, number] => [slot, SLOT.dead]));
  }

  /** Every page as it has been decided, for the backup of the token. */
  snapshot(): BackedUpPage[] {
    return this.#pages.map(({ generation, next, slots }, page) => ({
      page,
      generation,
      next,
      slots: slots.slice(),
    }));
  }

  get pages(): number {
    return this.#pages.length;
  }

  /** Pages whose wrapping key still opens what accounts that have ended left in copies of the database. */
  unshredded(): number[] {
    return this.#pages.flatMap(({ slots, next }, page) =>
      next || slots.includes(SLOT.dead) || slots.includes(SLOT.locked) ? [page] : [],
    );
  }

  /** The live slots of a page. */
  liveSlots(page: number): number[] {
    const { slots } = this.#pages[page] as CountedPage;
    return [...slots].flatMap((value, i) => (isLive(value) ? [page * PAGE_SLOTS + i] : []));
  }

  /** Gives a page a second wrapping key, for its records to be moved to. Called again, it goes on with that one. */
  beginRotation(page: number): Promise<Rotation> {
    return this.#exclusive(async () => {
      const rotated = this.#pages[page] as CountedPage;
      if (!rotated.next) {
        const next = newGeneration();
        await this.#store.generateWrappingKey(keyLabel(page, next));
        // A page written twice at one sequence could not be told from the one before it.
        await this.#append(new Map());
        await this.#writePage(page, { next });
      }
      const first = page * PAGE_SLOTS;
      return { page, slots: [first, first + PAGE_SLOTS - 1], from: rotated.generation, to: rotated.next };
    });
  }

  /**
   * Ends a page's old generation once no record is left in it: destroys its wrapping key, and with it whatever a copy
   * of the database still holds. Ended slots are free again; locked ones stay so.
   */
  finishRotation({ page, from, to }: Rotation): Promise<void> {
    return this.#exclusive(async () => {
      const rotated = this.#pages[page] as CountedPage;
      if (rotated.generation !== from || rotated.next !== to) return;
      await this.#append(new Map());
      const freed: number[] = [];
      rotated.durable.forEach((value, i) => {
        // A slot that is being changed now waits for the next rotation.
        if (rotated.slots[i] !== value || (value !== SLOT.dead && value !== SLOT.locked)) return;
        const slot = page * PAGE_SLOTS + i;
        rotated.durable[i] = value === SLOT.dead ? SLOT.free : SLOT.shredded;
        this.#set(slot, rotated.durable[i]);
        if (value === SLOT.dead) freed.push(slot);
      });
      await this.#writePage(page, { generation: to, next: 0 });
      await this.#store.destroyWrappingKey(keyLabel(page, from));
      this.#free.push(...freed);
    });
  }

  /** Waits for the write under way. */
  async close(): Promise<void> {
    await this.#turn;
  }

  /** Whether counters can be written. */
  get usable(): boolean {
    return !this.#broken;
  }

  /** Whether another program has become the writer: only a {@link reload} takes the ledger back. */
  get fenced(): boolean {
    return this.#broken instanceof TokenError && this.#broken.reason === 'BKV_FENCED';
  }

  /**
   * Becomes the writer and reads the token again after a write has failed, or when the token was lost meanwhile.
   * @throws LedgerCorrupt; what the token threw
   */
  reload(reason?: Error): Promise<void> {
    this.#broken ??= reason;
    return this.#inTurn(async () => {
      if (!this.#broken) return;
      try {
        await this.#load();
      } catch (error) {
        this.#broken = error as Error;
        throw error;
      }
    });
  }

  #is(wanted: SlotState['state'], slot: Slot): boolean {
    return this.state(slot).state === wanted;
  }

  #assert(wanted: SlotState['state'], slot: Slot): void {
    this.#assertUsable();
    if (!this.#is(wanted, slot)) throw new SlotClosed(this.state(slot).state);
  }

  #assertUsable(): void {
    if (this.#broken)
      throw new LedgerUnavailable('the retry counters cannot be written to the token', {
        cause: this.#broken,
      });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work);
    this.#turn = mine.catch(() => undefined);
    return mine;
  }

  /** Runs `work`, which writes to the token, while nothing else does. */
  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    return this.#inTurn(async () => {
      this.#assertUsable();
      try {
        return await work();
      } catch (error) {
        throw this.#fail(error as Error, []);
      }
    });
  }

  #change(changes: readonly (readonly [number, number])[]): Promise<void> {
    try {
      this.#assertUsable();
    } catch (error) {
      return Promise.reject(error);
    }
    let batch = this.#batches.at(-1);
    if (!batch || batch.changes.size + changes.length > JOURNAL_SLOTS) {
      batch = { changes: new Map(), waiters: [] };
      this.#batches.push(batch);
    }
    for (const [slot, value] of changes) {
      this.#set(slot, value);
      batch.changes.set(slot, value);
    }
    const { waiters } = batch;
    const done = new Promise<void>((resolve, reject) => waiters.push({ resolve, reject }));
    if (!this.#flushing) {
      this.#flushing = true;
      void this.#inTurn(() => this.#flush());
    }
    return done;
  }

  #set(slot: number, value: number): void {
    const { slots } = this.#pages[pageOf(slot)] as CountedPage;
    const at = slot % PAGE_SLOTS;
    this.#count(slots[at] as number, -1);
    this.#count(value, 1);
    slots[at] = value;
  }

  async #flush(): Promise<void> {
    // Changes of the same turn of the event loop share the first batch.
    await setImmediate();
    for (let batch = this.#batches.shift(); batch; batch = this.#batches.shift()) {
      const { changes, waiters } = batch;
      try {
        await this.#append(changes);
        ledgerBatch.observe(waiters.length);
        for (const waiter of waiters) waiter.resolve();
        await this.#fold();
      } catch (error) {
        this.#fail(error as Error, waiters);
      }
    }
    this.#flushing = false;
    this.#publish();
  }

  #fail(error: Error, waiters: Waiter[]): LedgerUnavailable {
    this.#broken = error;
    const unavailable = new LedgerUnavailable('the retry counters could not be written to the token', {
      cause: error,
    });
    for (const waiter of [...waiters, ...this.#batches.flatMap((batch) => batch.waiters)])
      waiter.reject(unavailable);
    this.#batches = [];
    return unavailable;
  }

  /** Writes the open journal object anew, with these changes. */
  async #append(changes: ReadonlyMap<number, number>): Promise<void> {
    const last = this.#sequence + 1n;
    if (this.#open.handle && this.#open.changes.size + changes.size > JOURNAL_SLOTS) {
      this.#sealed.push({ first: this.#open.first, last: this.#sequence, handle: this.#open.handle });
      this.#open = { first: last, handle: undefined, changes: new Map() };
    }
    const open = this.#open;
    for (const [slot, value] of changes) open.changes.set(slot, value);
    const folded = this.#folded();
    // Two for each that is written, so that no request waits long.
    const trimmed = this.#sealed.slice(0, 2).filter((segment) => segment.last <= folded);
    open.handle = await this.#store.replaceData(
      JOURNAL_LABEL,
      encodeJournal({
        ...open,
        last,
        folded,
        term: this.#term,
        pages: this.#pages.length,
      }),
      [...(open.handle ? [open.handle] : []), ...trimmed.map(({ handle }) => handle)],
      this.#writer,
    );
    this.#sequence = last;
    this.#sealed.splice(0, trimmed.length);
    for (const [slot, value] of changes) {
      const page = this.#pages[pageOf(slot)] as CountedPage;
      page.durable[slot % PAGE_SLOTS] = value;
      page.dirtySince ??= last;
    }
  }

  /** Every journal up to here is in the pages. */
  #folded(): bigint {
    const oldest = this.#oldest();
    return oldest ? oldest.dirtySince - 1n : this.#sequence;
  }

  /** The page with the oldest change that is only in a journal. */
  #oldest(): { page: number; dirtySince: bigint } | undefined {
    let oldest: { page: number; dirtySince: bigint } | undefined;
    this.#pages.forEach(({ dirtySince }, page) => {
      if (dirtySince !== undefined && (!oldest || dirtySince < oldest.dirtySince))
        oldest = { page, dirtySince };
    });
    return oldest;
  }

  async #fold(): Promise<void> {
    const oldest = this.#sealed.length > SEALED && this.#oldest();
    if (oldest) await this.#writePage(oldest.page);
  }

  async #writePage(page: number, change: Partial<Pick<LivePage, 'generation' | 'next'>> = {}): Promise<void> {
    const written = this.#pages[page] as CountedPage;
    const sequence = this.#sequence;
    const { generation, next } = { ...written, ...change };
    const handle = await this.#store.replaceData(
      PAGE_LABEL + page,
      encodePage({ page, generation, next, sequence, slots: written.durable }),
      [written.handle],
      this.#writer,
    );
    Object.assign(written, { generation, next, handle, sequence, dirtySince: undefined });
    for (const slot of this.#open.changes.keys()) if (pageOf(slot) === page) this.#open.changes.delete(slot);
  }

  async #addPage(): Promise<void> {
    const page = this.#pages.length;
    const generation = newGeneration();
    const slots = new Uint8Array(PAGE_SLOTS);
    const sequence = this.#sequence;
    await this.#store.generateWrappingKey(keyLabel(page, generation));
    const handle = await this.#store.replaceData(
      PAGE_LABEL + page,
      encodePage({ page, generation, next: 0, sequence, slots }),
      [],
      this.#writer,
    );
    this.#pages.push({
      generation,
      next: 0,
      handle,
      sequence,
      slots,
      durable: slots.slice(),
      dirtySince: undefined,
    });
    await this.#append(new Map());
    this.#counts.free += PAGE_SLOTS;
    for (let i = PAGE_SLOTS - 1; i >= 0; i--) this.#free.push(page * PAGE_SLOTS + i);
    this.#publish();
  }

  /** Takes the ledger over: the writer before is fenced off first, so that what is read then stays as it is. */
  async #load(): Promise<void> {
    // Seen by all before any is looked for: of two that come at once, at least one ends the other.
    const mine = randomBytes(16);
    await this.#store.replaceData(WRITER_LABEL, mine, []);
    const isMine = ({ value }: DataObject) => mine.equals(value);
    await this.#store.refresh();
    const others = (await this.#store.listData(WRITER_LABEL)).filter((writer) => !isMine(writer));
    for (const { handle } of others) await this.#store.destroyData(handle);
    // What another one wrote until then counts.
    if (others.some(({ value }) => !Buffer.from(value).equals(this.#writer.value)))
      await this.#store.refresh();
    const objects = await this.#store.listData('bkv.ledger.');
    const writer = objects.find(isMine);
    if (!writer) throw new TokenError('another program became the writer meanwhile', 'BKV_FENCED');
    this.#writer = writer;
    const { pages, segments, sequence, term, superseded } = replay(objects);
    if (sequence < this.#sequence)
      throw new LedgerCorrupt('the token holds counters older than those that were acknowledged');
    const keys = new Set(
      pages.flatMap(({ generation, next }, page) =>
        [generation, next].filter((one) => one).map((one) => keyLabel(page, one)),
      ),
    );
    const present = await this.#store.listWrappingKeys(KEY_PREFIX);
    const missing = [...keys].find((label) => !present.includes(label));
    if (missing) throw new LedgerCorrupt(`the token lacks the wrapping key ${missing}`);

    this.#pages = pages.map((page) => ({ ...page, durable: page.slots.slice() }));
    this.#sealed = segments;
    this.#sequence = sequence;
    this.#term = term + 1;
    this.#open = { first: sequence + 1n, handle: undefined, changes: new Map() };
    Object.assign(this.#counts, { free: 0, live: 0, locked: 0, dead: 0 });
    this.#free = [];
    const reserved: number[] = [];
    for (let page = pages.length - 1; page >= 0; page--) {
      for (let i = PAGE_SLOTS - 1; i >= 0; i--) {
        const value = (pages[page] as LivePage).slots[i] as number;
        this.#count(value, 1);
        const slot = page * PAGE_SLOTS + i;
        if (value === SLOT.free && !this.#picked.has(slot)) this.#free.push(slot);
        if (value === SLOT.reserved) reserved.push(page * PAGE_SLOTS + i);
      }
    }
    for (const slot of reserved) this.#set(slot, SLOT.dead);
    do {
      await this.#append(new Map(reserved.splice(0, JOURNAL_SLOTS).map((slot) => [slot, SLOT.dead])));
    } while (reserved.length > 0);
    for (const handle of superseded) await this.#store.destroyData(handle);
    for (const label of present) if (!keys.has(label)) await this.#store.destroyWrappingKey(label);
    this.#broken = undefined;
    this.#publish();
  }

  #count(value: number, by: number): void {
    if (isLive(value)) this.#counts.live += by;
    else if (value === SLOT.free) this.#counts.free += by;
    else if (value === SLOT.locked || value === SLOT.shredded) this.#counts.locked += by;
    else this.#counts.dead += by;
  }

  #publish(): void {
    for (const [state, count] of Object.entries(this.#counts)) ledgerSlots.set({ state }, count);
    ledgerJournal.set(this.#sealed.length + 1);
  }
}
