import pRetry, { AbortError } from 'p-retry';
import { StorageError } from './storage.js';

/** Statuses of HTTP that a second try does not change. */
const isFinal = (status: number): boolean =>
  status >= 400 && status < 500 && status !== 408 && status !== 429;

/** The status that a server answered with, when it did. */
export function statusOf(error: unknown): number | undefined {
  const { status, cause } = error as { status?: number; cause?: unknown };
  return status ?? (cause === undefined ? undefined : statusOf(cause));
}

/**
 * Tries up to six times within half a minute, waiting twice as long each time.
 * @throws StorageError naming the storage
 */
export async function attempt<T>(location: string, work: () => Promise<T>): Promise<T> {
  try {
    return await pRetry(
      async () => {
        try {
          return await work();
        } catch (error) {
          if (isFinal(statusOf(error) ?? 0)) throw new AbortError(error as Error);
          // A socket that broke is a TypeError of fetch, which would not be tried again.
          throw error instanceof TypeError ? new Error(error.message, { cause: error.cause }) : error;
        }
      },
      { retries: 5, minTimeout: 500, factor: 2, randomize: true },
    );
  } catch (error) {
    const { message, cause } = error as Error;
    const reason = cause instanceof Error ? `${message} (${cause.message})` : message;
    throw new StorageError(`${location}: ${reason}`);
  }
}
