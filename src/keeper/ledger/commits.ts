import { setImmediate } from 'node:timers/promises';
import { Turn } from '../../process/index.js';
import { ledgerBatch } from '../metrics/index.js';
import { LedgerUnavailable } from './errors.js';
import type { Journal } from './journal.js';
import type { Word } from './state.js';

type Waiter = { resolve: () => void; reject: (error: Error) => void };
type Batch = { changes: Map<number, Word>; waiters: Waiter[]; sequence?: bigint };

/** A change that was decided. */
export interface Commit {
  /** resolves when the token holds it; rejects with LedgerUnavailable */
  readonly durable: Promise<void>;
  /**
   * the journal that was to carry it to the token, if one was tried: it is there if the token's newest
   * journal is not older
   */
  sequence(): bigint | undefined;
}

/**
 * Group commit: changes that arrive while a journal object is being written share the next one. Everything
 * that writes to the token takes its turn here. After a failed write nobody knows what the token holds, so
 * everything is refused until the token was read again.
 */
export class Commits {
  readonly #journal: Journal;
  readonly #onIdle: () => void;
  readonly #turn = new Turn();
  #batches: Batch[] = [];
  #flushing = false;
  #broken: Error | undefined;
  #newest: Promise<void> = Promise.resolve();
  #reading = 0;

  constructor(journal: Journal, onIdle: () => void) {
    this.#journal = journal;
    this.#onIdle = onIdle;
  }

  /** Why nothing can be written; `undefined` when something can. */
  get broken(): Error | undefined {
    return this.#broken;
  }

  /** @throws LedgerUnavailable */
  assertUsable(): void {
    if (this.#broken)
      throw new LedgerUnavailable('the retry counters cannot be written to the token', {
        cause: this.#broken,
      });
  }

  /** Carries decided changes to the token, all in one object. */
  add(changes: ReadonlyMap<number, Word>): Commit {
    let batch = this.#batches.at(-1);
    if (!batch || batch.changes.size + changes.size > this.#journal.room) {
      batch = { changes: new Map(), waiters: [] };
      this.#batches.push(batch);
    }
    const mine = batch;
    for (const [cell, word] of changes) mine.changes.set(cell, word);
    const durable = new Promise<void>((resolve, reject) => mine.waiters.push({ resolve, reject }));
    this.#newest = durable;
    if (!this.#flushing) {
      this.#flushing = true;
      void this.inTurn(() => this.#flush());
    }
    return { durable, sequence: () => mine.sequence };
  }

  /** How often the token was read again. */
  get reading(): number {
    return this.#reading;
  }

  /** {@link Ledger.durable} describes it. */
  async durable(reading = this.#reading): Promise<void> {
    this.assertUsable();
    if (reading !== this.#reading)
      throw new LedgerUnavailable('the token was read again meanwhile; what was decided may be undone');
    await this.#newest;
  }

  /** Runs `work`, which writes to the token, while nothing else does. @throws LedgerUnavailable */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    return this.inTurn(async () => {
      this.assertUsable();
      try {
        return await work();
      } catch (error) {
        throw this.#fail(error as Error, []);
      }
    });
  }

  /** Runs `work` after everything that is under way, whether or not the token can be written to. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.#turn.take(work);
  }

  /** From now on everything is refused for this reason, unless there is one already. */
  break(reason: Error | undefined): void {
    this.#broken ??= reason;
  }

  /**
   * Reads the token again by `load`, and goes on if that succeeds.
   * @param resume decides, before anybody else does, what could not be decided until then
   */
  async reload(load: () => Promise<void>, resume: () => Promise<void>): Promise<void> {
    let resumed: Promise<void> | undefined;
    await this.inTurn(async () => {
      if (!this.#broken) return;
      try {
        await load();
      } catch (error) {
        this.#broken = error as Error;
        throw error;
      }
      this.#newest = Promise.resolve();
      this.#reading++;
      this.#broken = undefined;
      resumed = resume();
    });
    await resumed;
  }

  /** Waits for the write under way. */
  async settled(): Promise<void> {
    await this.#turn.ended();
  }

  async #flush(): Promise<void> {
    // Changes of the same turn of the event loop share the first batch.
    await setImmediate();
    for (let batch = this.#batches.shift(); batch; batch = this.#batches.shift()) {
      const { changes, waiters } = batch;
      batch.sequence = this.#journal.sequence + 1n;
      try {
        await this.#journal.append(changes);
        ledgerBatch.observe(waiters.length);
        for (const waiter of waiters) waiter.resolve();
        await this.#journal.fold();
      } catch (error) {
        this.#fail(error as Error, waiters);
      }
    }
    this.#flushing = false;
    this.#onIdle();
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
}
