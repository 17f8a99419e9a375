/** The token, or the way to it, failed. `code` is the PKCS#11 return value's name where there was one. */
export class TokenError extends Error {
  override name = 'TokenError';
  constructor(
    message: string,
    readonly code: string = 'BKV_TOKEN',
  ) {
    super(message);
  }
}

/** Bytes that are not a point of P-256 in SEC1 form, or are the identity. */
export class InvalidPoint extends Error {
  override name = 'InvalidPoint';
}

/** A profile in `hsm-config/` that cannot be used. */
export class ProfileError extends Error {
  override name = 'ProfileError';
}
