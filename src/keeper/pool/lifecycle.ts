import { setTimeout } from 'node:timers/promises';
import { backOff } from '../../process/index.js';
import { audit, log } from '../log/index.js';
import { tokenReopened, tokenUp } from '../metrics/index.js';
import { PinRefused, type Profile, TokenError } from '../pkcs11/index.js';
import { HangDetection } from './hang.js';
import { Scheduler } from './scheduling.js';
import { Sessions } from './sessions.js';
import type { Thread } from './thread.js';
import type { Token } from './token.js';

/** Milliseconds between two attempts to log in again; the last one repeats. */
const BACK_OFF = [200, 1000, 2000, 5000, 10_000, 30_000] as const;

/** Each session tries itself about every so many seconds, for so many sessions. */
const THOROUGH = 10;
/** Milliseconds after which a module that does not end counts as hung. */
const END_TIMEOUT_MS = 5000;

const AWAY = 'the token is away';

/**
 * Takes the token from logged in to lost and back. When a session dies, all sessions are ended and the module
 * is finalized. Then the login is repeated, at growing intervals, until it succeeds or the PIN is refused.
 * Calls fail meanwhile. A session that still exists but fails is reopened while the others work. If none
 * works, all count as lost.
 */
export class Lifecycle {
  readonly sessions: Sessions;
  readonly scheduler = new Scheduler({
    onLost: (error) => this.lost(error),
    onSick: (thread, error) => void this.#replace(thread, error),
  });
  readonly #hanging: HangDetection;
  readonly #looks: NodeJS.Timeout;
  readonly #onBegin: () => void;
  readonly #onEnd: () => void;
  readonly #closing = new AbortController();
  readonly #sick = new Set<Thread>();
  #state: Token['state'] = 'away';
  #awayReason: string | undefined;
  /** grows with each opening */
  #opened = 0;
  #seconds = 0;
  /** being reopened: calls wait */
  #refreshing = false;
  #opening: Promise<void> = Promise.resolve();
  #onReopen: () => void = () => undefined;

  /**
   * @param onBegin is called when the sessions are open
   * @param onEnd before they are ended for good, or once they are lost
   * @param onHang when a call into the module does not return: only ending the process helps
   */
  constructor(profile: Profile, onBegin: () => void, onEnd: () => void, onHang: () => void) {
    this.sessions = new Sessions(profile, {
      onReplies: (thread, replies) => this.scheduler.settle(thread, replies),
      onGone: (_, error) => this.lost(error),
    });
    this.#hanging = new HangDetection(profile.callTimeout, () => this.sessions.threads, onHang);
    this.#looks = setInterval(() => this.scheduler.probe(++this.#seconds % THOROUGH === 0), 1000).unref();
    this.#onBegin = onBegin;
    this.#onEnd = onEnd;
  }

  get state(): Token['state'] {
    return this.#state;
  }

  /** The reason of the loss, or of the last failure since. */
  get awayReason(): string | undefined {
    return this.#awayReason;
  }

  onReopen(listener: () => void): void {
    this.#onReopen = listener;
  }

  /** @throws TokenError `BKV_AWAY` when a call made now would have no session to wait for */
  assertCallable(): void {
    if (this.#state !== 'up' && !this.#refreshing) throw away();
  }

  /** Logs in. @throws TokenError, ProfileError */
  open(): Promise<void> {
    this.#opening = this.#open();
    return this.#opening;
  }

  async #open(): Promise<void> {
    await this.sessions.begin();
    if (this.#state !== 'away') return;
    this.#opened++;
    this.#sick.clear();
    this.#onBegin();
    this.#state = 'up';
    this.#awayReason = undefined;
    tokenUp.set(1);
    this.scheduler.begin(this.sessions.threads);
  }

  /** The sessions are lost: calls that wait for them fail, and they are reopened. */
  lost(reason: Error): void {
    if (this.#state !== 'up') return;
    audit('token lost', { reason: reason.message }, 'error');
    this.#failAndReopen(reason);
  }

  leave(reason: Error): void {
    // Logging in again does not help against a full disk.
    if (this.#state !== 'up' || (reason instanceof TokenError && reason.reason === 'BKV_NOT_WRITTEN')) return;
    this.lost(reason);
    this.sessions.turnToNextToken();
  }

  async refresh(): Promise<void> {
    if (this.#state !== 'up') throw away();
    this.#state = 'away';
    this.#refreshing = true;
    this.scheduler.pause();
    try {
      await this.#endAll();
      await this.#open();
    } catch (error) {
      this.#failAndReopen(error as Error);
      throw error;
    } finally {
      this.#refreshing = false;
    }
  }

  /** Waits for the calls under way, then closes every session. */
  async close(): Promise<void> {
    this.#state = 'closed';
    this.#closing.abort();
    clearInterval(this.#looks);
    const late = setTimeout(END_TIMEOUT_MS, 'late' as const, { ref: false });
    const ended = await Promise.race([this.#end(), late]);
    if (ended === 'late') this.#hanging.hang();
    this.#hanging.close();
    await this.sessions.close();
  }

  async #end(): Promise<void> {
    await this.#opening.catch(() => undefined);
    this.#onEnd();
    // A thread answers the calls that are under way before it ends.
    await this.#endAll().catch((error: Error) => log.error('token not closed', { reason: error.message }));
  }

  /** Tries to reopen a sick session again and again, as long as other writing sessions work and the PIN does. */
  async #replace(thread: Thread, reason: Error): Promise<void> {
    this.#sick.add(thread);
    log.error('a session of the token fails, and is reopened', { reason: reason.message });
    const opened = this.#opened;
    const isOver = () => this.#opened !== opened || this.#state !== 'up';
    for (let attempt = 0; !isOver(); attempt++) {
      const lender = [...this.sessions.threads].find((one) => one.sharesHandles && !this.#sick.has(one));
      if (!lender) return this.lost(reason);
      try {
        await this.sessions.renew(thread, lender);
        if (isOver()) return;
        this.#sick.delete(thread);
        this.scheduler.admit(thread);
        return;
      } catch (error) {
        log.error('a session of the token fails still', { reason: (error as Error).message });
        // Another try could lock a standby token.
        if (error instanceof PinRefused) return;
      }
      await this.#wait(attempt);
    }
  }

  #wait(attempt: number): Promise<unknown> {
    const ms = backOff(BACK_OFF, attempt);
    return setTimeout(ms, undefined, { signal: this.#closing.signal }).catch(() => undefined);
  }

  #failAndReopen(reason: Error): void {
    this.#state = 'away';
    this.#awayReason = reason.message;
    tokenUp.set(0);
    this.scheduler.fail(this.sessions.threads, away(reason));
    this.#opening = this.#reopen();
  }

  async #reopen(): Promise<void> {
    for (let attempt = 0; this.#state === 'away'; attempt++) {
      await this.#wait(attempt);
      try {
        this.#onEnd();
        await this.#endAll();
        if (this.#state !== 'away') return;
        await this.#open();
        tokenReopened.inc();
        audit('token found again');
        this.#onReopen();
      } catch (error) {
        this.sessions.turnToNextToken();
        this.#awayReason = (error as Error).message;
        if (error instanceof PinRefused) this.#state = 'refused';
        log.error('token not found again', { reason: (error as Error).message });
      }
    }
  }

  async #endAll(): Promise<void> {
    await this.sessions.end();
    await this.sessions.finalize();
  }
}

const away = (reason?: Error) => new TokenError(reason ? `${AWAY}: ${reason.message}` : AWAY, 'BKV_AWAY');
