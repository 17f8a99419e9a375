import { BkvError, WrongPassword } from '../errors.js';

/** Too few vaults answered, or held a share. Try again later. */
export class TooFewVaults extends BkvError {
  constructor(
    readonly answered: number,
    readonly threshold: number,
    /** what went wrong, each with the vault's URL */
    readonly failures: readonly string[] = [],
    what = `${answered} of the vaults answered, and ${threshold} are needed; try again when more are up`,
    code = 'TooFewVaults',
  ) {
    super(code, failures.length > 0 ? `${what} (${failures.join('; ')})` : what);
  }
}

/**
 * Enough vaults answered to open the key, but their answers do not open it. Either the password is wrong, or
 * vaults that answered lie. Only more answers can tell which.
 */
export class Undecided extends TooFewVaults {
  constructor(
    answered: number,
    threshold: number,
    failures: readonly string[],
    /** guesses that are left now that this one has failed */
    readonly attemptsRemaining: number,
    /** vaults whose evaluation does not fit the others' */
    readonly suspects: readonly string[],
  ) {
    super(
      answered,
      threshold,
      failures,
      `the password is wrong, or some of the ${answered} vaults that answered lie${
        suspects.length > 0 ? `, perhaps ${suspects.join(', ')}` : ''
      }; more must answer to tell`,
      'Undecided',
    );
  }
}

/** The password is wrong, whichever vaults lie. */
export class WrongFleetPassword extends WrongPassword {
  constructor(
    attemptsRemaining: number,
    /** vaults that were caught lying */
    readonly liars: readonly string[],
    /** vaults whose evaluation does not fit the others': they lie, unless more than half of the surplus over T lie together */
    readonly suspects: readonly string[],
  ) {
    super(attemptsRemaining);
  }
}

/** No vault holds anything of this account. */
export class NotRegistered extends BkvError {
  constructor() {
    super('NotRegistered', 'the fleet does not know this account; register it first');
  }
}

/** The account has been moved to a fleet that the fleet file does not name. */
export class MovedAway extends BkvError {
  constructor() {
    super('MovedAway', 'the account was moved to another fleet; get the fleet file that names it');
  }
}
