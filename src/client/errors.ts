/** Every error of the client library has a `code` that does not change. */
export class BkvError extends Error {
  /** @param code what happened, as docs/client.md lists it */
  constructor(
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = code;
  }
}

/** The password does not open the key. The attempt is spent. */
export class WrongPassword extends BkvError {
  /** @param attemptsRemaining how many more wrong passwords are allowed; at 0 the key is gone */
  constructor(readonly attemptsRemaining: number) {
    super(
      'WrongPassword',
      `wrong password, ${attemptsRemaining} ${attemptsRemaining === 1 ? 'attempt' : 'attempts'} left`,
    );
  }
}

/** No password opens the key any more: make a new backup under a new key. */
export class Locked extends BkvError {
  constructor() {
    super('Locked', 'all password attempts are spent; the backup key is unreachable for ever');
  }
}

/** Somebody else answers in the vault's place. Nothing secret was sent; do not let the user try again. */
export class VaultIdentityMismatch extends BkvError {
  constructor(detail: string) {
    super('VaultIdentityMismatch', `this is not the vault whose key is pinned: ${detail}`);
  }
}

/** The vault and this program do not speak the same version of the protocol. Nothing secret was sent. */
export class VersionMismatch extends BkvError {
  /** @param theirs the vault's version @param ours this program's */
  constructor(
    readonly theirs: number,
    readonly ours: number,
  ) {
    super(
      'VersionMismatch',
      `the vault speaks version ${theirs} of the protocol, and this program version ${ours}; update ${theirs > ours ? 'this program' : 'the vault'}`,
    );
  }
}

/** The access token is for another vault. It was not sent. */
export class AccessTokenForAnother extends BkvError {
  constructor(url: string) {
    super(
      'AccessTokenForAnother',
      `the access token is not for the vault at ${url}; get one for its identity`,
    );
  }
}

/**
 * The vault accepted a registration, but the login that tests it failed. What was there before is gone:
 * register again.
 */
export class RegistrationUnproven extends BkvError {
  constructor(options?: ErrorOptions) {
    super(
      'RegistrationUnproven',
      'the vault took the registration, but a login did not open it; keep the key on this device and register again',
      options,
    );
  }
}

/** The vault refused, or could not be reached. `status` is 0 when no answer came. */
export class VaultError extends BkvError {
  /** the problem document's type (RFC 9457), such as `unavailable`; `undefined` when there was none */
  readonly kind: string | undefined;
  /** milliseconds after which another try is worthwhile; `undefined` when the vault did not say */
  readonly retryAfter: number | undefined;
  constructor(
    readonly status: number,
    message: string,
    {
      kind,
      retryAfter,
      ...options
    }: ErrorOptions & { kind?: string | undefined; retryAfter?: number | undefined } = {},
  ) {
    super('VaultError', message, options);
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}

/** The account has a key, which a registration would make unreachable. */
export class KeyExists extends BkvError {
  constructor() {
    super(
      'KeyExists',
      'the vault holds a key for this account already. If it is replaced, it is gone for ever, and what was backed up with it cannot be opened',
    );
  }
}

/** This device stretches a password for longer than the vault waits. Nothing was sent, and no attempt is spent. */
export class DeviceTooSlow extends BkvError {
  /**
   * @param needed milliseconds that this device needs to stretch a password
   * @param allowed milliseconds that the vault waits
   */
  constructor(
    readonly needed: number,
    readonly allowed: number,
  ) {
    super(
      'DeviceTooSlow',
      `this device needs some ${Math.ceil(needed / 1000)} seconds to check a password, and the vault waits ${Math.floor(allowed / 1000)}. Nothing was sent and no attempt is spent; close other programs and try again, or use a faster device`,
    );
  }
}

/** The vault no longer waits for the proof of a password, which may be right. The attempt is spent. */
export class ExchangeExpired extends BkvError {
  /** @param needed milliseconds that this device needs to stretch a password */
  constructor(readonly needed: number) {
    super(
      'ExchangeExpired',
      `the proof of the password came too late for the vault, which counted an attempt; this device needs some ${Math.ceil(needed / 1000)} seconds for it: keep it awake, and close other programs`,
    );
  }
}

/** Whether a vault refused a message because the exchange has expired, or because the vault was restarted meanwhile. */
export const isExchangeOver = (error: unknown): boolean =>
  error instanceof VaultError && ['exchange-expired', 'unknown-exchange'].includes(error.kind ?? '');

/** The app gave no access token. Nothing was sent. */
export class AccessTokenUnavailable extends BkvError {
  constructor(options?: ErrorOptions) {
    super('AccessTokenUnavailable', 'there is no access token for the account; sign in again', options);
  }
}
