import type { Request, RequestHandler } from 'express';
import {
  type ClientRateLimitInfo,
  ipKeyGenerator,
  type Options,
  rateLimit,
  type Store,
} from 'express-rate-limit';
import { CodedError } from '../protocol/terms.js';
import { type Answer, isFor, type Question, WINDOW_MS } from './counts.js';
import { log } from './log.js';
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

  constructor(
    readonly prefix: string,
    readonly limit: number,
  ) {}

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
    const totalHits = (granted > 0 ? before : this.limit) + lease.used;
    return { totalHits, resetTime: new Date(Date.now() + resetAt - performance.now()) };
  }

  async decrement(key: string): Promise<void> {
    const lease = await this.#leases.get(key);
    if (lease && lease.granted > 0) lease.used--;
  }

  resetKey(): void {}

  #ask(key: string): Promise<Lease> {
    const lease = new Promise<Lease>((resolve) => {
      const id = ++this.#last;
      this.#asked.set(id, resolve);
      const question = { limit: 'ask', id, key: this.prefix + key, most: this.limit } satisfies Question;
      process.send?.(question);
    });
    this.#leases.set(key, lease);
    return lease;
  }
}

/** Of messages that follow a start, so many times the limit may be refused. */
const FOLLOWING = 10;
/** How a message is answered that no client sends which keeps to the protocol. */
const MADE_UP = new Set([400, 401, 404, 413, 415]);

/** Lets each address make `limit` requests a minute at all workers together. */
export const addressLimit = (limit: number): RequestHandler => limited('', limit);

/**
 * Counts only messages that are refused. A message after a start is let in as long as its address does not make messages
 * up, because refusing it would cost its sender the attempt that the start has spent.
 */
export const followingLimit = (limit: number): RequestHandler =>
  limited('following ', FOLLOWING * limit, {
    skipSuccessfulRequests: true,
    requestWasSuccessful: (_request, { statusCode }) => !MADE_UP.has(statusCode),
  });

const limited = (kind: string, limit: number, options: Partial<Options> = {}): RequestHandler =>
  rateLimit({
    ...options,
    windowMs: WINDOW_MS,
    limit,
    store: new LeasedCounts(kind, limit),
    keyGenerator: (request: Request) => ipKeyGenerator(request.ip ?? ''),
    standardHeaders: 'draft-7',
    legacyHeaders: false,
    // X-Forwarded-For from an address that is not a trusted proxy is ignored, and logged below.
    validate: { xForwardedForHeader: false },
    handler: (request, response) => {
      const { used } = (request as Request & { rateLimit: { used: number } }).rateLimit;
      if (used === limit + 1) tell(request, limit);
      // A flood that is kept out must not fill the log.
      response.locals.level = 'debug';
      sendProblem(response, new CodedError('rate-limited', 'wait as Retry-After says, then try again'));
    },
  });

/** Once a minute for an address: what it sends beyond that is only counted. */
function tell({ headers, ips }: Request, limit: number): void {
  const ignored = headers['x-forwarded-for'] !== undefined && ips.length === 0;
  log.warn('an address has used up its requests of this minute', {
    limit,
    ...(ignored && {
      hint: 'it forwards for others, and trustedProxies does not name it: then all clients behind it share one limit',
    }),
  });
}
