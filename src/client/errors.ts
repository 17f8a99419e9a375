/** Every error of the client library has a `code` that does not change. */
export class BkvError extends Error {
  constructor(
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = code;
  }
}

export class WrongPassword extends BkvError {
  constructor(readonly attemptsRemaining: number) {
    super(
      'WrongPassword',
      `wrong password, ${attemptsRemaining} ${attemptsRemaining === 1 ? 'attempt' : 'attempts'} left`,
    );
  }
}

export class Locked extends BkvError {
  constructor() {
    super('Locked', 'all password attempts are spent; the backup key is unreachable for ever');
  }
}

export class VaultIdentityMismatch extends BkvError {
  constructor(detail: string) {
    super('VaultIdentityMismatch', `this is not the vault whose key is pinned: ${detail}`);
  }
}

/** The vault refused, or could not be reached. `status` is 0 when no answer came. */
export class VaultError extends BkvError {
  constructor(
    readonly status: number,
    message: string,
    options?: ErrorOptions,
  ) {
    super('VaultError', message, options);
  }
}
