import { log } from '../log/index.js';
import {
  type Begun,
  type Lent,
  PinRefused,
  type Profile,
  type TokenError,
  type TokenName,
} from '../pkcs11/index.js';
import { ExposureReport } from './exposure.js';
import { Thread, type ThreadListener } from './thread.js';

/**
 * The profile's sessions, each on a thread of its own. With `spread` some are on the standby tokens, where
 * they only evaluate. Everything that touches objects is done on the first token.
 */
export class Sessions {
  readonly #profile: Profile;
  readonly #listener: ThreadListener;
  /** the token in use comes first */
  readonly #tokens: TokenName[];
  readonly #threads = new Set<Thread>();
  readonly #report = new ExposureReport();
  #epoch = 0;
  /** the first token's, 33 bytes */
  #identity: Uint8Array | undefined;

  constructor(profile: Profile, listener: ThreadListener) {
    this.#profile = profile;
    this.#tokens = [profile.token, ...profile.standby];
    this.#listener = listener;
  }

  get threads(): ReadonlySet<Thread> {
    return this.#threads;
  }

  /** The profile, with the token that is used now. */
  get profile(): Profile {
    return { ...this.#profile, token: this.#first };
  }

  get #first(): TokenName {
    return this.#tokens[0] as TokenName;
  }

  /** Has the next {@link begin} use another of the profile's tokens as the first. */
  turnToNextToken(): void {
    this.#tokens.push(this.#tokens.shift() as TokenName);
  }

  /**
   * Logs in as many sessions as the token gives, at least one. @throws TokenError, PinRefused, ProfileError
   */
  async begin(): Promise<void> {
    this.#epoch++;
    while (this.#threads.size < this.#profile.sessions) this.#start();
    const threads = [...this.#threads];
    // One after the other, because not every module survives two first logins at once.
    for (const [i, thread] of threads.entries()) {
      try {
        await this.#begin(thread, threads[0] as Thread);
      } catch (error) {
        if (i === 0 || (error as TokenError).reason !== 'CKR_SESSION_COUNT') throw error;
        return this.#doWith(threads.slice(0, i));
      }
    }
  }

  /**
   * Opens one session again, beside the others.
   * @param lender another session that writes @throws TokenError when the session could not be opened, or
   * does not work; PinRefused when a standby token refuses the PIN
   */
  renew(thread: Thread, lender: Thread): Promise<void> {
    return this.#begin(thread, lender);
  }

  /** Ends every session, after the calls that its thread was given. */
  async end(): Promise<void> {
    await Promise.all([...this.#threads].map((thread) => thread.command({ do: 'end' })));
  }

  /** Finalizes the module, once no session is left: many network HSMs are only found again after that. */
  async finalize(): Promise<void> {
    // Threads that share no handles may each have an instance of the module.
    for (const [i, thread] of [...this.#threads].entries())
      if (i === 0 || !thread.sharesHandles) await thread.command({ do: 'finalize' });
  }

  /** Tells every session about a page's key. */
  learn(label: string, handle?: string): void {
    for (const thread of this.#threads) thread.learn(label, handle);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#threads].map((thread) => thread.terminate()));
  }

  #start(): void {
    const { onReplies, onGone } = this.#listener;
    const thread = new Thread(this.#profile, {
      onReplies,
      onGone: (gone, error) => {
        onGone(gone, error);
        this.#threads.delete(gone);
      },
    });
    this.#threads.add(thread);
  }

  /**
   * Begins a session, on the first token unless another is its own and can be used.
   * @param lender a session that writes; itself when it is the first
   */
  async #begin(thread: Thread, lender: Thread): Promise<void> {
    thread.failures = 0;
    thread.sharesHandles = false;
    const own = this.#tokenOf(thread);
    thread.onStandby = own !== this.#first && (await this.#beginStandby(thread, own));
    if (thread.onStandby) return;
    const begun = (await thread.command({ do: 'begin', token: this.#first, epoch: this.#epoch })) as Begun;
    this.#identity = begun.identity;
    this.#report.tell(begun);
    thread.sharesHandles = thread === lender || (await this.#borrows(thread, lender));
  }

  /** With `spread` the sessions take the tokens in turns. */
  #tokenOf(thread: Thread): TokenName {
    const i = [...this.#threads].indexOf(thread);
    return (this.#profile.spread && this.#tokens[i % this.#tokens.length]) || this.#first;
  }

  /**
   * Whether handles that one session got are valid in another, tried with a session object. In some modules
   * each thread has its own instance. A handle of one instance then means nothing, or another object, in the
   * others.
   */
  async #borrows(thread: Thread, lender: Thread): Promise<boolean> {
    const lent = (await lender.command({ do: 'lend' })) as Lent | undefined;
    return lent !== undefined && ((await thread.command({ do: 'borrow', lent })) as boolean);
  }

  /** Whether a session on a standby token could be begun. A PIN that it refuses is not tried again. */
  async #beginStandby(thread: Thread, token: TokenName): Promise<boolean> {
    try {
      const standbyFor = this.#identity as Uint8Array;
      await thread.command({ do: 'begin', token, epoch: this.#epoch, standbyFor });
      return true;
    } catch (error) {
      if (error instanceof PinRefused) throw error;
      log.error('a standby token is not used', { reason: (error as Error).message });
      return false;
    }
  }

  /** Goes on with the sessions that the token gave, less one for the witness, which is a process of its own. */
  async #doWith(begun: readonly Thread[]): Promise<void> {
    const kept = new Set(begun.slice(0, Math.max(1, begun.length - 1)));
    log.error('the token gives fewer sessions than the profile says', {
      profile: this.#profile.sessions,
      used: kept.size,
    });
    for (const thread of this.#threads) {
      if (kept.has(thread)) continue;
      await thread.command({ do: 'end' });
      await thread.terminate();
    }
  }
}
