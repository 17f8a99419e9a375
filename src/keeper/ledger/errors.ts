import { CodedError } from '../../protocol/terms.js';
import type { CellState } from './state.js';

/** The ledger in the token is incomplete, altered, or older than it should be. */
export class LedgerCorrupt extends CodedError {
  constructor(message: string) {
    super('ledger-corrupt', message);
  }
}

/** A newer version of this program has written the ledger. */
export class NewerLedger extends CodedError {
  constructor(version: number, known: number) {
    super(
      'newer-version',
      `the ledger in the token is of version ${version}, and this program knows version ${known}: run the program that wrote it, or a newer one`,
    );
  }
}

/** The counters cannot be written (or read back) now: nothing may leave the vault. */
export class LedgerUnavailable extends CodedError {
  constructor(message: string, options?: ErrorOptions) {
    super('unavailable', message, {}, options);
  }
}

/** The cell's state does not allow the move. `exhausted`: the cell is live, but every attempt is spent. */
export class CellClosed extends CodedError {
  constructor(readonly state: CellState['state'] | 'exhausted') {
    super('unknown-exchange', `the cell is ${state}`);
  }
}
