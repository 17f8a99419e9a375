import cluster, { type Worker } from 'node:cluster';
import type { Request, RequestHandler } from 'express';
import { ipKeyGenerator, type Options, rateLimit, type Store } from 'express-rate-limit';
import { CodedError } from '../protocol/index.js';
import { sendProblem } from './problem.js';

const WINDOW_MS = 60_000;

/** A worker asks how many requests an address has made in this minute; the primary counts. */
interface Question {
  readonly limit: 'ask' | 'forgive';
  readonly id: number;
  readonly key: string;
}
interface Answer {
  readonly limit: 'count';
  readonly id: number;
  readonly hits: number;
  readonly resetAt: number;
}
const isFor = (message: unknown, kinds: readonly string[]): boolean =>
  kinds.includes(String((message as { limit?: unknown } | undefined)?.limit));

/** Counts the requests of addresses for all workers. To be called once in the primary. */
export function countAddresses(): void {
  let resetAt = Date.now() + WINDOW_MS;
  const counts = new Map<string, number>();
  cluster.on('message', (worker: Worker, message: Question) => {
    if (!isFor(message, ['ask', 'forgive'])) return;
    if (Date.now() >= resetAt) {
      resetAt = Date.now() + WINDOW_MS;
      counts.clear();
    }
    const { id, key } = message;
    const hits = Math.max(0, (counts.get(key) ?? 0) + (message.limit === 'ask' ? 1 : -1));
    counts.set(key, hits);
    if (message.limit === 'ask' && worker.isConnected())
      worker.send({ limit: 'count', id, hits, resetAt } satisfies Answer);
  });
}

/** Counts that all workers share, kept by the primary. */
class PrimaryStore implements Store {
  readonly localKeys = false;
  readonly #asked = new Map<number, (answer: Answer) => void>();
  #last = 0;

  init(_options: Options): void {
    process.on('message', (message: Answer) => {
      if (!isFor(message, ['count'])) return;
      this.#asked.get(message.id)?.(message);
      this.#asked.delete(message.id);
    });
  }

  async increment(key: string): Promise<{ totalHits: number; resetTime: Date }> {
    const { hits, resetAt } = await new Promise<Answer>((resolve) => {
      const id = ++this.#last;
      this.#asked.set(id, resolve);
      process.send?.({ limit: 'ask', id, key } satisfies Question);
    });
    return { totalHits: hits, resetTime: new Date(resetAt) };
  }

  decrement(key: string): void {
    process.send?.({ limit: 'forgive', id: 0, key } satisfies Question);
  }

  resetKey(): void {}
}

/** Lets each address make so many requests a minute at all workers together. */
export const addressLimit = (limit: number): RequestHandler =>
  rateLimit({
    windowMs: WINDOW_MS,
    limit,
    store: new PrimaryStore(),
    keyGenerator: (request: Request) => ipKeyGenerator(request.ip ?? ''),
    standardHeaders: 'draft-7',
    legacyHeaders: false,
    // X-Forwarded-For of an address that is no trusted proxy is ignored, and is no reason for a warning.
    validate: { xForwardedForHeader: false },
    handler: (_request, response) =>
      sendProblem(response, new CodedError('rate-limited', 'wait as Retry-After says, then try again')),
  });
