/** The primary counts what addresses ask of all workers. */
import cluster, { type Worker } from 'node:cluster';

export const WINDOW_MS = 60_000;

/**
 * A worker asks how many requests an address may make in this minute. The primary, which counts them, grants
 * several at once.
 */
export interface Question {
  readonly limit: 'ask';
  readonly id: number;
  readonly key: string;
  /** requests a minute */
  readonly most: number;
}
export interface Answer {
  readonly limit: 'lease';
  readonly id: number;
  /** requests that this worker may let through; 0 when the address has had all of this minute */
  readonly granted: number;
  /** requests that all workers were granted before */
  readonly before: number;
  /** milliseconds of this minute that are left, by a monotonic clock */
  readonly left: number;
}

export const isFor = (message: unknown, kind: Question['limit'] | Answer['limit']): boolean =>
  (message as { limit?: unknown } | undefined)?.limit === kind;

/**
 * A fortieth of the limit: this takes few messages, and one worker holds little while another has run out.
 */
const leaseOf = (limit: number): number => Math.max(1, Math.floor(limit / 40));

/** Counts the requests of addresses for all workers. To be called once in the primary. */
export function countAddresses(): void {
  let resetAt = performance.now() + WINDOW_MS;
  const given = new Map<string, number>();
  cluster.on('message', (worker: Worker, message: Question) => {
    if (!isFor(message, 'ask') || !worker.isConnected()) return;
    const now = performance.now();
    if (now >= resetAt) {
      resetAt = now + WINDOW_MS;
      given.clear();
    }
    const { id, key, most } = message;
    const before = given.get(key) ?? 0;
    const granted = Math.min(leaseOf(most), most - before);
    given.set(key, before + granted);
    worker.send({ limit: 'lease', id, granted, before, left: resetAt - now } satisfies Answer);
  });
}
