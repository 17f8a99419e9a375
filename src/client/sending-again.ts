import { isExchangeOver, VaultError } from './errors.js';

/** Milliseconds to wait before a message is sent again, if the vault does not say how long. */
const FIRST_WAIT_MS = 200;
/** The wait doubles up to this. */
const LONGEST_WAIT_MS = 2000;
/** A vault that says it waits longer may be lying: its users are not made to wait so long. */
const PATIENCE_MS = 120_000;

/** Whether no answer came, or the vault or a proxy says that it cannot answer now. */
const isPassing = (error: unknown): error is VaultError =>
  error instanceof VaultError && [0, 429, 502, 503, 504].includes(error.status);

/**
 * Sends a message whose loss would cost an attempt. Sends the same message again as long as it fails for a
 * temporary reason and the vault still waits for it, for two minutes at most.
 * @param until when the vault stops waiting, by `performance.now`
 * @throws what the last try threw; if the vault no longer knows the exchange after a message was lost, what
 * that message's try threw
 */
export async function sendUntil<T>(until: number, send: () => Promise<T>): Promise<T> {
  const end = Math.min(until, performance.now() + PATIENCE_MS);
  let passing: VaultError | undefined;
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
    try {
      return await send();
    } catch (error) {
      if (!isPassing(error)) throw passing && isExchangeOver(error) ? passing : error;
      passing = error;
      // A wait of 0 seconds would send without a pause.
      const pause = error.retryAfter || wait;
      if (performance.now() + pause >= end) throw error;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}
