import { log } from '../log/index.js';
import { PinRefused, type Profile, type TokenName } from '../pkcs11/index.js';
import { Thread, type ThreadListener } from './thread.js';

/**
 * The profile's sessions, each on a thread of its own. With `spread` some are on the standby tokens: they evaluate;
 * whatever touches objects is done on the first token alone.
 */
export class Sessions {
  readonly #profile: Profile;
  readonly #listener: ThreadListener;
  /** the one that is used now first */
  readonly #tokens: TokenName[];
  readonly #threads = new Set<Thread>();
  #epoch = 0;

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

  /** From the next {@link begin} on another of the profile's tokens is the first. */
  turnToNextToken(): void {
    this.#tokens.push(this.#tokens.shift() as TokenName);
  }

  /** Logs every session in. @throws TokenError, PinRefused, ProfileError */
  async begin(): Promise<void> {
    this.#epoch++;
    while (this.#threads.size < this.#profile.sessions) this.#start();
    let identity: Uint8Array | undefined;
    // One after the other: not every module survives two first logins at once.
    for (const [i, thread] of [...this.#threads].entries()) {
      const token = (this.#profile.spread && this.#tokens[i % this.#tokens.length]) || this.#first;
      thread.onStandby = token !== this.#first && (await this.#beginStandby(thread, token, identity));
      if (!thread.onStandby) identity = await this.#begin(thread, this.#first);
    }
  }

  /** Ends every session, after the calls that its thread was given. */
  async end(): Promise<void> {
    await Promise.all([...this.#threads].map((thread) => thread.command({ do: 'end' })));
  }

  /** Ends the module itself, once no session is left: many a network HSM is only found again after that. */
  async finalize(): Promise<void> {
    const [thread] = this.#threads;
    await thread?.command({ do: 'finalize' });
  }

  /** Tells every session of a page's key. */
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
        this.#threads.delete(gone);
        onGone(gone, error);
      },
    });
    this.#threads.add(thread);
  }

  async #begin(thread: Thread, token: TokenName, standbyFor?: Uint8Array): Promise<Uint8Array> {
    const command = { do: 'begin', token, epoch: this.#epoch, ...(standbyFor && { standbyFor }) } as const;
    return (await thread.command(command)) as Uint8Array;
  }

  /** Whether a session on a standby token could be begun. A PIN that it refuses is not tried again. */
  async #beginStandby(thread: Thread, token: TokenName, identity?: Uint8Array): Promise<boolean> {
    try {
      await this.#begin(thread, token, identity);
      return true;
    } catch (error) {
      if (error instanceof PinRefused) throw error;
      log.error('a standby token is not used', { reason: (error as Error).message });
      return false;
    }
  }
}
