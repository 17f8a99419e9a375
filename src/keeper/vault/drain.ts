import { setTimeout } from 'node:timers/promises';
import { aborted } from '../../process/index.js';
import type { Ledger } from '../ledger/index.js';
import { log } from '../log/index.js';
import type { Exchanges } from './exchanges.js';
import type { Lifecycle } from './lifecycle.js';
import type { Recovery } from './recovery.js';

/** Longer than a device takes to stretch and to send, milliseconds. */
const PATIENCE_MS = 15_000;
const POLL_MS = 50;

export interface Drained {
  readonly lifecycle: Lifecycle;
  readonly ledger: Ledger;
  readonly recoveries: Exchanges<Recovery>;
  /** those of keys, and those of shares */
  readonly registrations: readonly { readonly size: number }[];
}

/**
 * Begins no more exchanges, and waits for the second messages of those that are open. If a recovery is cut
 * off, its attempt stays spent, even if its password is right. The next proof gives the attempt back, but
 * after the last attempt there is no next proof. So last attempts, and proofs that could not be written to
 * the token yet, are waited for as long as an exchange lives. All others are waited for {@link PATIENCE_MS}.
 * @param hurry ends the wait
 */
export async function drain(
  { lifecycle, ledger, recoveries, registrations }: Drained,
  hurry: AbortSignal,
): Promise<void> {
  const signal = AbortSignal.any([hurry, lifecycle.signal]);
  lifecycle.stop();
  await Promise.race([lifecycle.settled(), aborted(signal)]);
  const begun = performance.now();
  const isOpen = () => recoveries.size > 0 || registrations.some(({ size }) => size > 0) || ledger.owes;
  const isLast = () => ledger.owes || recoveries.values().some((one) => one.attemptsRemaining === 0);
  const goesOn = () => {
    const ms = performance.now() - begun;
    return !signal.aborted && (ms < PATIENCE_MS ? isOpen() : ms < recoveries.lifetime && isLast());
  };
  if (goesOn())
    log.info('waiting for what is open; a second signal ends at once', {
      recoveries: recoveries.size,
      registrations: registrations.reduce((sum, { size }) => sum + size, 0),
    });
  while (goesOn()) await setTimeout(POLL_MS, undefined, { signal }).catch(() => undefined);
}
