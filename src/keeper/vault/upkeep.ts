import { setTimeout } from 'node:timers/promises';
import { backOff } from '../../process/index.js';
import { log } from '../log/index.js';
import { lostRecords, tokenBackup, tokenBackupFailures } from '../metrics/index.js';
import type { Accounts } from './accounts.js';
import type { Lifecycle } from './lifecycle.js';
import { type Shreddable, type Shredded, shred } from './shredder.js';

/** Which pages are swept. */
export interface ShredOptions {
  /** all pages, not only those on which an account has ended */
  readonly all?: boolean;
  /** also the pages with lost records, whose accounts then end */
  readonly abandonLost?: boolean;
}

/** Shreds pages one after the other, while the vault serves. One sweep runs at a time. */
export function sweep(
  lifecycle: Lifecycle,
  vault: Shreddable,
  { all = false, abandonLost = false }: ShredOptions,
  report: (page: Shredded) => void,
): Promise<void> {
  return lifecycle.upkeep(async () => {
    const { ledger } = vault;
    const pages = all ? Array.from({ length: ledger.pages }, (_, i) => i) : ledger.unshredded();
    let lost = 0;
    for (const page of pages) {
      const shredded = await shred(vault, page, abandonLost);
      if (!shredded.done) lost += shredded.lost;
      report(shredded);
    }
    lostRecords.set(lost);
  });
}

/**
 * Reports accounts whose rows are gone. Without this they would be told "wrong password", and nobody would
 * know why.
 */
function tellLost(records: number): void {
  lostRecords.set(records);
  if (records > 0)
    log.error(
      'the database lacks accounts whose counters the token has: put back its newest copy, if an older one was put back. After a restore of the token, cells that nobody had count as well',
      { accounts: records },
    );
}

/** Milliseconds before what a crash left is looked for again; the last one repeats. */
const TIDY_MS = [1000, 10_000, 60_000] as const;

/** Ends what a crash left half-way, while the vault serves, and tells of accounts whose rows are gone. */
export async function tidyUp(lifecycle: Lifecycle, accounts: Accounts): Promise<void> {
  const { signal } = lifecycle;
  for (let failures = 0; !signal.aborted; failures++)
    try {
      return await lifecycle.upkeep(async () => tellLost(await accounts.tidy(signal)));
    } catch {
      // The lifecycle has logged why.
      await setTimeout(backOff(TIDY_MS, failures), undefined, { signal, ref: false }).catch(() => undefined);
    }
}

/** Keeps a fresh backup of the token. A failure is reported, and stops nothing. */
export async function keepBackup(
  backUp: () => Promise<string>,
  keep: (backup: string) => Promise<void>,
): Promise<void> {
  try {
    await keep(await backUp());
    tokenBackup.setToCurrentTime();
  } catch (error) {
    tokenBackupFailures.inc();
    log.error('the backup of the token could not be kept', { reason: (error as Error).message });
  }
}
