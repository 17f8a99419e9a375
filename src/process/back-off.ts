/**
 * The milliseconds to wait before the next try. @param waits before the first try, the second, …; the last
 * one repeats @param failures tries until now, from 0
 */
export const backOff = (waits: readonly [number, ...number[]], failures: number): number =>
  waits[Math.min(failures, waits.length - 1)] as number;

/** Milliseconds before a process is started again. */
const RESTART_MS = [100, 500, 1000, 5000, 10_000] as const;
/** A process that ran for this many milliseconds counts as good. */
const GOOD_MS = 60_000;

/** When processes of one kind are started again: sooner after one that ran well. */
export class Restarts {
  #failures = 0;

  /** @param begun when the process that has ended was started, by `performance.now()` @returns milliseconds to wait */
  waitAfter(begun: number): number {
    if (performance.now() - begun > GOOD_MS) this.#failures = 0;
    return backOff(RESTART_MS, this.#failures++);
  }
}
