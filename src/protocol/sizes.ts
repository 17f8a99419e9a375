/** P256-SHA256, HKDF-SHA-256, HMAC-SHA-256, SHA-256, 3DH: byte lengths of RFC 9807, section 2 and 4. */
export const SIZES = {
  element: 33,
  scalar: 32,
  nonce: 32,
  mac: 32,
  hash: 32,
  envelope: 64,
  registrationRequest: 33,
  registrationResponse: 66,
  registrationRecord: 129,
  KE1: 98,
  KE2: 259,
  KE3: 32,
} as const;

/** Version of the wire protocol: docs/protocol.md. */
export const WIRE_VERSION = 2;

/**
 * The largest limit of wrong passwords: it fits into a byte of the ledger's format, and is more guesses than any password
 * should have to withstand.
 */
export const MOST_ATTEMPTS = 200;

/** Most dealings and keys of an account that a vault lists. */
export const MOST_DEALINGS = 16;

/** The longest that a vault waits for the second message of an exchange, seconds. */
export const MOST_EXCHANGE_SECONDS = 3600;
