import { isExchangeOver, VaultError } from './errors.js';

/**
 * Milliseconds to wait before a message is sent again, if the vault does not say how long; the last one
 * repeats.
 */
const WAITS = [200, 500, 1000, 2000] as const;

/** Whether no answer came, or the vault or a proxy says that it cannot answer now. */
const isPassing = (error: unknown): error is VaultError =>
  error instanceof VaultError && [0, 429, 502, 503, 504].includes(error.status);

/**
 * Sends a message whose loss would cost an attempt. Sends the same message again as long as it fails for a
 * temporary reason and the vault still waits for it.
 * @param until when the vault stops waiting, by `performance.now`
 * @throws what the last try threw; if the vault no longer knows the exchange after a message was lost, what
 * that message's try threw
 */
export async function sendUntil<T>(until: number, send: () => Promise<T>): Promise<T> {
  let passing: VaultError | undefined;
  for (let tries = 0; ; tries++) {
    try {
      return await send();
    } catch (error) {
      if (!isPassing(error)) throw passing && isExchangeOver(error) ? passing : error;
      passing = error;
      const wait = Math.max(WAITS[0], error.retryAfter ?? WAITS[tries] ?? (WAITS.at(-1) as number));
      if (performance.now() + wait >= until) throw error;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}
