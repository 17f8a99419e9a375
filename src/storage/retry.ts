import { setTimeout } from 'node:timers/promises';
import pRetry, { AbortError } from 'p-retry';
import { isRedirect } from './http.js';
import { ObjectError, StorageError } from './storage.js';

/** Timeout, locked (RFC 4918), too early (RFC 8470), too many requests: a second try may succeed. */
const PASSING = [408, 423, 425, 429];
/** The storage is full, which will not change while tries go on. */
const FULL = 507;
/** The longest that a server may ask to wait, seconds. */
const PATIENCE = 60;

const isFinal = (status: number): boolean =>
  isRedirect(status) || status === FULL || (status >= 400 && status < 500 && !PASSING.includes(status));

/** The status that a server answered with, if it answered. */
export function statusOf(error: unknown): number | undefined {
  const { status, cause } = error as { status?: number; cause?: unknown };
  return status ?? (cause === undefined ? undefined : statusOf(cause));
}

/**
 * Tries up to six times within half a minute, waiting twice as long each time, or as long as the server asks.
 * @throws StorageError naming the storage
 */
export async function attempt<T>(location: string, work: () => Promise<T>): Promise<T> {
  try {
    return await pRetry(
      async () => {
        try {
          return await work();
        } catch (error) {
          // A broken socket is a TypeError with a cause; without a cause it is a fault of this program.
          const isOurs = error instanceof TypeError && error.cause === undefined;
          if (error instanceof StorageError || isOurs || isFinal(statusOf(error) ?? 0))
            throw new AbortError(error as Error);
          const { retryAfter = 0 } = error as { retryAfter?: number };
          if (retryAfter > 0) await setTimeout(Math.min(retryAfter, PATIENCE) * 1000);
          throw error instanceof TypeError ? new Error(error.message, { cause: error.cause }) : error;
        }
      },
      { retries: 5, minTimeout: 500, factor: 2, randomize: true },
    );
  } catch (error) {
    if (error instanceof ObjectError) throw error;
    const { message, cause } = error as Error;
    const reason = cause instanceof Error ? `${message} (${cause.message})` : message;
    throw new StorageError(`${location}: ${reason}`, { cause: error });
  }
}
