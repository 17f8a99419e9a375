import { isExchangeOver, VaultError } from './errors.js';

/** Waits before a message is sent again when the vault does not say how long, milliseconds; the last one stays. */
const WAITS = [200, 500, 1000, 2000] as const;

/** No answer came, or the vault, or a proxy before it, says that it cannot answer now. */
const isPassing = (error: unknown): error is VaultError =>
  error instanceof VaultError && [0, 429, 502, 503, 504].includes(error.status);

/**
 * Sends a message that is worth an attempt, and sends the same again as long as it fails for a reason that passes and
 * the vault still waits for it.
 * @param until when the vault waits no longer, on `performance.now`
 * @throws what sending last threw; where the vault knows the exchange no more after a message that was lost, what became
 * of that one
 */
export async function sendUntil<T>(until: number, send: () => Promise<T>): Promise<T> {
  let passing: VaultError | undefined;
  for (let tries = 0; ; tries++) {
    try {
      return await send();
    } catch (error) {
      if (!isPassing(error)) throw passing && isExchangeOver(error) ? passing : error;
      passing = error;
      const wait = error.retryAfter ?? WAITS[tries] ?? (WAITS.at(-1) as number);
      if (performance.now() + wait >= until) throw error;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}
