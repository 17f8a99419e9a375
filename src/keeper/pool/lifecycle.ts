import { setTimeout } from 'node:timers/promises';
import { audit, log } from '../log/index.js';
import { tokenReopened, tokenUp } from '../metrics/index.js';
import { PinRefused, type Profile, TokenError } from '../pkcs11/index.js';
import { HangDetection } from './hang.js';
import { Scheduler } from './scheduling.js';
import { Sessions } from './sessions.js';
import type { Token } from './token.js';

/** Waits between two attempts to log in again, milliseconds; the last one stays. */
const BACK_OFF = [200, 1000, 2000, 5000, 10_000, 30_000];

const AWAY = 'the token is away';

/**
 * From logged in to lost to logged in again. When a session dies, all are ended, the module is finalized, and the token
 * logs in again by itself, ever more slowly, until it succeeds or the PIN is refused. Calls fail meanwhile.
 */
export class Lifecycle {
  readonly sessions: Sessions;
  readonly scheduler = new Scheduler((error) => this.lost(error));
  readonly hanging: HangDetection;
  readonly #onBegin: () => void;
  readonly #onEnd: () => void;
  readonly #closing = new AbortController();
  #state: Token['state'] = 'away';
  /** being opened anew: calls wait */
  #refreshing = false;
  #reopening: Promise<void> = Promise.resolve();
  #onReopen: () => void = () => undefined;

  /** @param onBegin is called when the sessions are open @param onEnd before they are ended */
  constructor(profile: Profile, onBegin: () => void, onEnd: () => void) {
    this.sessions = new Sessions(profile, {
      onReplies: (thread, replies) => this.scheduler.settle(thread, replies),
      onGone: (_, error) => this.lost(error),
    });
    this.hanging = new HangDetection(profile.callTimeout, () => this.#look());
    this.#onBegin = onBegin;
    this.#onEnd = onEnd;
  }

  get state(): Token['state'] {
    return this.#state;
  }

  onReopen(listener: () => void): void {
    this.#onReopen = listener;
  }

  /** @throws TokenError `BKV_AWAY` when a call made now would have no session to wait for */
  assertCallable(): void {
    if (this.#state !== 'up' && !this.#refreshing) throw away();
  }

  /** Logs in. @throws TokenError, ProfileError */
  async open(): Promise<void> {
    await this.sessions.begin();
    if (this.#state !== 'away') return;
    this.#onBegin();
    this.#state = 'up';
    tokenUp.set(1);
    this.scheduler.begin(this.sessions.threads);
  }

  /** The sessions are of no use any more: what waits for them fails, and they are opened anew. */
  lost(reason: Error): void {
    if (this.#state !== 'up') return;
    audit('token lost', { reason: reason.message }, 'error');
    this.#failAndReopen(reason);
  }

  leave(reason: Error): void {
    // A full disk is not left by logging in again.
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
      await this.open();
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
    this.hanging.close();
    await this.#reopening;
    // What is under way is answered before a thread hears of its end.
    await this.#endAll().catch((error: Error) => log.error('token not closed', { reason: error.message }));
    await this.sessions.close();
  }

  #failAndReopen(reason: Error): void {
    this.#state = 'away';
    tokenUp.set(0);
    this.scheduler.fail(this.sessions.threads, away(reason));
    this.#reopening = this.#reopen();
  }

  async #reopen(): Promise<void> {
    for (let attempt = 0; this.#state === 'away'; attempt++) {
      const wait = BACK_OFF[Math.min(attempt, BACK_OFF.length - 1)];
      await setTimeout(wait, undefined, { signal: this.#closing.signal }).catch(() => undefined);
      try {
        await this.#endAll();
        if (this.#state !== 'away') return;
        await this.open();
        tokenReopened.inc();
        audit('token found again');
        this.#onReopen();
      } catch (error) {
        this.sessions.turnToNextToken();
        if (error instanceof PinRefused) this.#state = 'refused';
        log.error('token not found again', { reason: (error as Error).message });
      }
    }
  }

  async #endAll(): Promise<void> {
    this.#onEnd();
    await this.hanging.ended(() => this.sessions.end(), this.#state === 'closed');
    await this.sessions.finalize();
  }

  #look(): void {
    if (this.#state === 'up' && this.scheduler.isIdle)
      this.scheduler.add({ method: 'probe', args: [], resolve: () => undefined, reject: () => undefined });
    try {
      this.hanging.check(this.sessions.threads);
    } catch (error) {
      this.lost(error as Error);
    }
  }
}

const away = (reason?: Error) => new TokenError(reason ? `${AWAY}: ${reason.message}` : AWAY, 'BKV_AWAY');
