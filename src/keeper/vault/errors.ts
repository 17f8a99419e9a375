import { CodedError } from '../../protocol/terms.js';

/** The errors that a request may end with; every other error is a failure of token, ledger or database. */
export abstract class Answer extends CodedError {}

/** The password was not proven, or the account is unknown: the two are not told apart. */
export class WrongPassword extends Answer {
  constructor(attemptsRemaining: number) {
    super(
      'wrong-password',
      `wrong password, ${attemptsRemaining} ${attemptsRemaining === 1 ? 'attempt' : 'attempts'} left`,
      { attemptsRemaining },
    );
  }
}

/** All attempts are spent: the key is unreachable for ever. */
export class AccountLocked extends Answer {
  constructor() {
    super('locked', 'all password attempts are spent; the backup key is unreachable for ever', {
      attemptsRemaining: 0,
    });
  }
}

/** All attempts are spent, but some are still under way and may prove the password. Nothing was spent. */
export class AttemptsUnderWay extends Answer {
  constructor() {
    super('attempts-under-way', 'every attempt that is left is under way; try again when those have ended', {
      attemptsRemaining: 0,
      retryAfter: 60,
    });
  }
}

/** The registration or recovery is not under way: it ended, timed out, or belongs to another account. */
export class UnknownExchange extends Answer {
  constructor(message: string) {
    super('unknown-exchange', message);
  }
}

/** The second message came later than the vault waits. A recovery's attempt stays spent, though its password may be right. */
export class ExchangeExpired extends Answer {
  constructor() {
    super('exchange-expired', 'the second message came too late; start again, and be quicker');
  }
}

/** The state of the account's dealings does not allow the request. Nothing was changed. */
export class DealingConflict extends Answer {
  constructor(message: string) {
    super('dealing-conflict', message);
  }
}

/** The account has a key, and the registration may not replace it. Nothing has changed. */
export class KeyExists extends Answer {
  constructor() {
    super(
      'key-exists',
      'the account has a key, which would be lost for ever; register with `replace: true` to give it up',
    );
  }
}

/** A message of the protocol is malformed. Nothing was spent. */
export class InvalidMessage extends Answer {
  constructor(message: string) {
    super('invalid-message', message);
  }
}

/** The vault cannot answer now. Nothing is lost by trying again. */
export class VaultUnavailable extends Answer {
  constructor(message: string, options?: ErrorOptions) {
    super('unavailable', message, { retryAfter: 2 }, options);
  }
}
