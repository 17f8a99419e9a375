import { setTimeout } from 'node:timers/promises';
import { TokenError } from '../pkcs11/index.js';
import type { Thread } from './thread.js';

const LOOK_MS = 1000;
const END_TIMEOUT_MS = 5000;

/**
 * Tells a module that hangs from one that is slow. A thread inside the module cannot be ended: when a call does not come
 * back at all, only the end of the process helps, and `hung` resolves.
 */
export class HangDetection {
  readonly #limitMs: number;
  readonly #looks: NodeJS.Timeout;
  #ending: { readonly since: number; readonly done: Promise<unknown> } | undefined;
  #hang: () => void = () => undefined;
  /** resolves when a call into the module does not come back */
  readonly hung = new Promise<void>((resolve) => {
    this.#hang = resolve;
  });

  /** @param callTimeout seconds that a call may take @param look is done once a second */
  constructor(callTimeout: number, look: () => void) {
    this.#limitMs = callTimeout * 1000;
    this.#looks = setInterval(look, LOOK_MS).unref();
  }

  /** @throws TokenError `BKV_HUNG` when one of the threads has been in a call for too long */
  check(threads: Iterable<Thread>): void {
    for (const { running } of threads)
      if (running && performance.now() - running.since > this.#limitMs)
        throw new TokenError('a call into the module hangs', 'BKV_HUNG');
  }

  /**
   * Waits for the end of all sessions, which waits for their calls. Called again, it waits for the same end.
   * @param isLast nobody will ask again @throws TokenError `BKV_HUNG` when it has not come in time
   */
  async ended(end: () => Promise<unknown>, isLast: boolean): Promise<void> {
    this.#ending ??= { since: performance.now(), done: end() };
    const { since, done } = this.#ending;
    const inTime = await Promise.race([
      done
        .then(() => true)
        .finally(() => {
          this.#ending = undefined;
        }),
      setTimeout(END_TIMEOUT_MS, false, { ref: false }),
    ]);
    if (inTime) return;
    if (isLast || performance.now() - since > this.#limitMs) this.#hang();
    throw new TokenError('a call into the module does not come back', 'BKV_HUNG');
  }

  close(): void {
    clearInterval(this.#looks);
  }
}
