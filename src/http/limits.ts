import type { Request, RequestHandler } from 'express';
import { type ClientRateLimitInfo, ipKeyGenerator, rateLimit, type Store } from 'express-rate-limit';
import { CodedError } from '../protocol/terms.js';
import { type Answer, isFor, type Question, WINDOW_MS } from './counts.js';
import { sendProblem } from './problem.js';

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

/** Lets each address make `limit` requests a minute at all workers together. */
export const addressLimit = (limit: number): RequestHandler =>
  rateLimit({
    windowMs: WINDOW_MS,
    limit,
    store: new LeasedCounts(limit),
    keyGenerator: (request: Request) => ipKeyGenerator(request.ip ?? ''),
    standardHeaders: 'draft-7',
    legacyHeaders: false,
    // X-Forwarded-For from an address that is not a trusted proxy is ignored, without a warning.
    validate: { xForwardedForHeader: false },
    handler: (_request, response) =>
      sendProblem(response, new CodedError('rate-limited', 'wait as Retry-After says, then try again')),
  });
