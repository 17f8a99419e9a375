/** The password was not proven, or the account is unknown: the two are not told apart. */
export class WrongPassword extends Error {
  override name = 'WrongPassword';
  constructor(readonly attemptsRemaining: number) {
    super(`wrong password, ${attemptsRemaining} attempts left`);
  }
}

/** All attempts are spent: the key is unreachable for ever. */
export class AccountLocked extends Error {
  override name = 'AccountLocked';
  constructor() {
    super('all password attempts are spent; the backup key is unreachable for ever');
  }
}

/** The registration or recovery is not under way: it ended, timed out, or belongs to another account. */
export class UnknownExchange extends Error {
  override name = 'UnknownExchange';
}

/** A message of the protocol is malformed. Nothing was spent. */
export class InvalidMessage extends Error {
  override name = 'InvalidMessage';
}

/** The vault cannot answer now. Nothing is lost by trying again. */
export class VaultUnavailable extends Error {
  override name = 'VaultUnavailable';
}
