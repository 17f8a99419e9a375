import { log } from '../log/index.js';
import type { Thread } from './thread.js';

const LOOK_MS = 1000;

/**
 * Distinguishes a module that hangs from one that is slow. A thread inside the module cannot be ended. So if
 * a call does not return at all, only ending the process helps, and this class asks for that.
 */
export class HangDetection {
  readonly #limitMs: number;
  readonly #looks: NodeJS.Timeout;
  readonly #onHang: () => void;

  /**
   * @param callTimeout seconds that a call may take
   * @param threads those that may be inside the module
   * @param onHang is called when one of them does not return
   */
  constructor(callTimeout: number, threads: () => Iterable<Thread>, onHang: () => void) {
    this.#limitMs = callTimeout * 1000;
    this.#onHang = onHang;
    this.#looks = setInterval(() => {
      for (const thread of threads()) if (thread.waited() > this.#limitMs) this.hang();
    }, LOOK_MS).unref();
  }

  /** Reports that a call into the module does not return. */
  hang(): void {
    this.close();
    log.error('a call into the module hangs');
    this.#onHang();
  }

  close(): void {
    clearInterval(this.#looks);
  }
}
