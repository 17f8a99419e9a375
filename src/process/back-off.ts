/**
 * The wait before the next try, milliseconds.
 * @param waits for the first try, the second, …; the last one stays @param failures tries until now, from 0
 */
export const backOff = (waits: readonly [number, ...number[]], failures: number): number =>
  waits[Math.min(failures, waits.length - 1)] as number;
