/**
 * The milliseconds to wait before the next try. @param waits before the first try, the second, …; the last
 * one repeats @param failures tries until now, from 0
 */
export const backOff = (waits: readonly [number, ...number[]], failures: number): number =>
  waits[Math.min(failures, waits.length - 1)] as number;
