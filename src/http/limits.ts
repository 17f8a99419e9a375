import cluster, { type Worker } from 'node:cluster';
import type { Request, RequestHandler } from 'express';
import { type ClientRateLimitInfo, ipKeyGenerator, rateLimit, type Store } from 'express-rate-limit';
import { CodedError } from '../protocol/index.js';
import { sendProblem } from './problem.js';

const WINDOW_MS = 60_000;

/** A worker asks for requests that an address may make in this minute; the primary, which counts them, gives some at once. */
interface Question {
  readonly limit: 'ask';
  readonly id: number;
  readonly key: string;
}
interface Answer {
  readonly limit: 'lease';
  readonly id: number;
  /** requests that this worker may let through; 0 when the address has had all of this minute */
  readonly granted: number;
  /** those that all workers were given before */
  readonly before: number;
  /** milliseconds of this minute that are left, by a clock that nobody sets */
  readonly left: number;
}

const isFor = (message: unknown, kind: Question['limit'] | Answer['limit']): boolean =>
  (message as { limit?: unknown } | undefined)?.limit === kind;

/** A fortieth of the limit: few messages, and little that one worker holds while another has run out. */
const leaseOf = (limit: number): number => Math.max(1, Math.floor(limit / 40));

/** Counts the requests of addresses for all workers. To be called once in the primary. @param limit requests a minute */
export function countAddresses(limit: number): void {
  let resetAt = performance.now() + WINDOW_MS;
  const given = new Map<string, number>();
  cluster.on('message', (worker: Worker, message: Question) => {
    if (!isFor(message, 'ask') || !worker.isConnected()) return;
    const now = performance.now();
    if (now >= resetAt) {
      resetAt = now + WINDOW_MS;
      given.clear();
    }
    const { id, key } = message;
    const before = given.get(key) ?? 0;
    const granted = Math.min(leaseOf(limit), limit - before);
    given.set(key, before + granted);
    worker.send({ limit: 'lease', id, granted, before, left: resetAt - now } satisfies Answer);
  });
}

interface Lease extends Pick<Answer, 'granted' | 'before'> {
  /** on `performance.now` */
  readonly resetAt: number;
  used: number;
}

/** Counts that all workers share, kept by the primary. */
class LeasedCounts implements Store {
  readonly localKeys = false;
  readonly #leases = new Map<string, Promise<Lease>>();
  readonly #asked = new Map<number, (lease: Lease) => void>();
  #resetAt = Number.POSITIVE_INFINITY;
  #last = 0;

  constructor(readonly limit: number) {}

  init(): void {
    process.on('message', (answer: Answer) => {
      if (!isFor(answer, 'lease')) return;
      const { id, granted, before, left } = answer;
      this.#asked.get(id)?.({ granted, before, resetAt: performance.now() + left, used: 0 });
      this.#asked.delete(id);
    });
  }

  async increment(key: string): Promise<ClientRateLimitInfo> {
    if (performance.now() >= this.#resetAt) {
      this.#leases.clear();
      // Until the first answer of the new minute.
      this.#resetAt = Number.POSITIVE_INFINITY;
    }
    const leased = this.#leases.get(key) ?? this.#ask(key);
    const lease = await leased;
    const { granted, before, resetAt } = lease;
    this.#resetAt = resetAt;
    if (granted > 0 && lease.used >= granted) {
      if (this.#leases.get(key) === leased) this.#leases.delete(key);
      return this.increment(key);
    }
    lease.used++;
    const totalHits = granted > 0 ? before + lease.used : this.limit + 1;
    return { totalHits, resetTime: new Date(Date.now() + resetAt - performance.now()) };
  }

  decrement(): void {}

  resetKey(): void {}

  #ask(key: string): Promise<Lease> {
    const lease = new Promise<Lease>((resolve) => {
      const id = ++this.#last;
      this.#asked.set(id, resolve);
      process.send?.({ limit: 'ask', id, key } satisfies Question);
    });
    this.#leases.set(key, lease);
    return lease;
  }
}

/** Lets each address make so many requests a minute at all workers together. */
export const addressLimit = (limit: number): RequestHandler =>
  rateLimit({
    windowMs: WINDOW_MS,
    limit,
    store: new LeasedCounts(limit),
    keyGenerator: (request: Request) => ipKeyGenerator(request.ip ?? ''),
    standardHeaders: 'draft-7',
    legacyHeaders: false,
    // X-Forwarded-For of an address that is no trusted proxy is ignored, and is no reason for a warning.
    validate: { xForwardedForHeader: false },
    handler: (_request, response) =>
      sendProblem(response, new CodedError('rate-limited', 'wait as Retry-After says, then try again')),
  });
