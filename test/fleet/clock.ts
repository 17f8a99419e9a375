import { setImmediate as turn } from 'node:timers/promises';
import type { Replaced } from './replaced.js';

/** The timer that `setTimeout` returns. */
class Timer {
  constructor(
    readonly at: number,
    readonly then: () => void,
  ) {}
  unref(): this {
    return this;
  }
}

const SUBTLE = ['importKey', 'deriveKey', 'encrypt', 'decrypt'] as const;

/**
 * A clock that replaces `setTimeout`, `clearTimeout` and `performance.now` of the whole process. When nothing else is left
 * to do, it jumps to the next timer. So what happens depends only on the seed, even on a busy machine.
 */
export class Clock {
  #now = 0;
  readonly #timers = new Set<Timer>();
  #isRunning = false;
  #underWay = 0;
  /** the last call of WebCrypto, which works on other threads: here, its calls end in the order of their beginning */
  #last: Promise<unknown> = Promise.resolve();

  constructor(replaced: Replaced) {
    replaced.replace(globalThis, 'setTimeout', (then: () => void, ms = 0) => this.#set(then, ms));
    replaced.replace(globalThis, 'clearTimeout', (timer: Timer) => this.#timers.delete(timer));
    replaced.replace(performance, 'now', () => this.#now);
    for (const name of SUBTLE) {
      const method = crypto.subtle[name] as (...args: unknown[]) => Promise<unknown>;
      replaced.replace(crypto.subtle, name, (...args: unknown[]) =>
        this.#inTurn(() => method.apply(crypto.subtle, args)),
      );
    }
  }

  wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.#set(resolve, ms));
  }

  #set(then: () => void, ms: number): Timer {
    const timer = new Timer(this.#now + Math.max(0, ms), then);
    this.#timers.add(timer);
    if (!this.#isRunning) void this.#run();
    return timer;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    for (;;) {
      do await turn();
      while (this.#underWay > 0);
      const [first] = [...this.#timers].sort((one, other) => one.at - other.at);
      if (!first) break;
      this.#timers.delete(first);
      this.#now = first.at;
      first.then();
    }
    this.#isRunning = false;
  }

  /** Stops the clock while `work` runs. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#underWay++;
    try {
      return await work();
    } finally {
      this.#underWay--;
    }
  }

  #inTurn(call: () => Promise<unknown>): Promise<unknown> {
    return this.during(async () => {
      const before = this.#last;
      const made = call();
      this.#last = made.catch(() => undefined);
      await before;
      return made;
    });
  }
}
