import type { AccountStatus, Recovery } from '../client.js';

/** What became of an operation at each vault, by URL. */
export interface FleetOutcome {
  /**
   * vaults that hold no proven share yet, or where an older password may still open. The list is empty when
   * the operation is complete. Otherwise the next recovery goes on with it.
   */
  readonly pending: readonly string[];
  /** vaults that did not answer, or could not be asked; some of them may be among the pending ones */
  readonly silent: readonly string[];
  /**
   * vaults that were caught lying: their answers did not parse, do not fit the others' answers, or were made
   * with another key
   */
  readonly liars: readonly string[];
}

export interface FleetRegistration extends FleetOutcome {
  /** how many vaults hold a share that was proven: at least the threshold */
  readonly vaults: number;
}

/** `failedAttempts` has only those that at least one honest vault counted: there may have been more. */
export interface FleetRecovery extends Recovery, FleetOutcome {
  /** how many vaults hold a share of a key that was dealt again, because a vault had none or the fleet is new */
  readonly repaired: number | undefined;
}

export type FleetStatus = AccountStatus & {
  /**
   * vaults that say they hold a key that is not the fleet's, such as one of their own. A registration ends it
   */
  readonly others: readonly string[];
  /** vaults that hold what is left of a registration that was cut off: nothing opens it, and a registration ends it */
  readonly rest: readonly string[];
};

export interface VaultCheck {
  readonly url: string;
  readonly state: 'ok' | 'unreachable' | 'another identity';
  readonly detail?: string;
}
