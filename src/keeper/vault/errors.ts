import { CodedError } from '../../protocol/index.js';

/** The password was not proven, or the account is unknown: the two are not told apart. */
export class WrongPassword extends CodedError {
  constructor(attemptsRemaining: number) {
    super('wrong-password', `wrong password, ${attemptsRemaining} attempts left`, { attemptsRemaining });
  }
}

/** All attempts are spent: the key is unreachable for ever. */
export class AccountLocked extends CodedError {
  constructor() {
    super('locked', 'all password attempts are spent; the backup key is unreachable for ever', {
      attemptsRemaining: 0,
    });
  }
}

/** No attempt is left unless one of those that are under way proves the password. Nothing was spent. */
export class AttemptsUnderWay extends CodedError {
  constructor() {
    super('attempts-under-way', 'every attempt that is left is under way; try again when those have ended', {
      attemptsRemaining: 0,
      retryAfter: 60,
    });
  }
}

/** The registration or recovery is not under way: it ended, timed out, or belongs to another account. */
export class UnknownExchange extends CodedError {
  constructor(message: string) {
    super('unknown-exchange', message);
  }
}

/** The second message came later than the vault waits. A recovery's attempt stays spent, though its password may be right. */
export class ExchangeExpired extends CodedError {
  constructor() {
    super('exchange-expired', 'the second message came too late; start again, and be quicker');
  }
}

/** What is asked for is refused while the account's dealings are as they are. Nothing was changed. */
export class DealingConflict extends CodedError {
  constructor(message: string) {
    super('dealing-conflict', message);
  }
}

/** A message of the protocol is malformed. Nothing was spent. */
export class InvalidMessage extends CodedError {
  constructor(message: string) {
    super('invalid-message', message);
  }
}

/** The vault cannot answer now. Nothing is lost by trying again. */
export class VaultUnavailable extends CodedError {
  constructor(message: string, options?: ErrorOptions) {
    super('unavailable', message, { retryAfter: 2 }, options);
  }
}
