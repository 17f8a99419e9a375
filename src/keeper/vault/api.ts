import type { Login } from '../elements/index.js';
import type { Status } from './accounts.js';
import type { ShareFinish, ShareRequest } from './dealings.js';
import type { Recovered } from './recovery.js';
import type { RegistrationFinish, RegistrationRequest } from './registration.js';

/** Whom a call is for, as the keeper's caller received it. */
export interface Caller {
  /** JWT (RFC 7519) that names the account in `sub`; the keeper always checks it itself */
  readonly accessToken: string;
  /** a UUID that identifies the request in the logs of both sides */
  readonly requestId: string;
}

/** Arguments of a call for an account. */
export type For<T = object> = T & { readonly caller: Caller };

/**
 * The seam between the trusted part and its callers: HTTP over the keeper's socket, tests and embedding in process.
 *
 * The keeper
 * - MUST check the access token of every call that has a {@link Caller}, and the lengths of all bytes, itself;
 * - MUST have an attempt counted durably in the token before `startRecovery` resolves;
 * - MUST have `finishRegistration` and `finishShare` durable before they resolve, and MAY keep the account's older key
 *   until then;
 * - MUST reject with a CodedError, and with no other error;
 * - MUST NOT show by its answer or its timing whether an account is known, except to whoever holds its access token;
 * - MAY reject any call with `unavailable`, `overloaded` or `rate-limited`, and then nothing was spent; of the second
 *   messages of exchanges only `commitDealing` and `withdrawDealing` are ever `rate-limited`;
 * - MUST reject any call that has a {@link Caller} with `unauthorized` when the access token is not valid for this vault;
 * - MAY reject any call with `token-failed`, `database-failed` or `internal`: trying again is useless until an operator acts;
 * - MAY answer calls in another order than they came in.
 *
 * A caller
 * - MUST NOT assume that a call that was cut off (`unavailable`: the keeper ended meanwhile) had no effect;
 * - MAY call at any time, even while the keeper stands by.
 *
 * Exchange ids are 16 bytes as 22 base64url characters; a dealing is 16 bytes as 32 hexadecimal digits.
 */
export interface KeeperApi {
  /** @returns serverPublicKey: what clients pin, 33 bytes */
  identity(): Promise<{
    serverPublicKey: Uint8Array;
    maxAttempts: number;
    /** how long the second message of an exchange is waited for, 1 to 3600 */
    exchangeSeconds: number;
  }>;
  /** @throws CodedError what any call may be rejected with, and nothing else */
  status(call: For): Promise<Status>;
  /** Ends every key of the account. @throws CodedError as {@link status} */
  delete(call: For): Promise<undefined>;
  /**
   * @returns registrationResponse, 66 bytes; limit, the wrong passwords until a lock; mac, 32 bytes, for a client that
   * sent a key share @throws CodedError invalid-message
   */
  startRegistration(
    call: For<RegistrationRequest>,
  ): Promise<{ registrationId: string; registrationResponse: Uint8Array; limit: number; mac?: Uint8Array }>;
  /**
   * If the account has a key, only a call with `replace` replaces it. The same message, sent again, gets the
   * same answer. @throws CodedError key-exists, unknown-exchange, exchange-expired, invalid-message
   */
  finishRegistration(call: For<RegistrationFinish>): Promise<undefined>;
  /** @returns transportKey: E, 33 bytes; limit; mac, 32 bytes @throws CodedError invalid-message */
  startShare(
    call: For<ShareRequest>,
  ): Promise<{ registrationId: string; transportKey: Uint8Array; limit: number; mac: Uint8Array }>;
  /**
   * The same message again is answered the same.
   * @throws CodedError invalid-message, unknown-exchange, exchange-expired, dealing-conflict, attempts-under-way
   */
  finishShare(call: For<ShareFinish>): Promise<undefined>;
  /** @throws CodedError unknown-exchange, dealing-conflict */
  commitDealing(call: For<{ dealing: string }>): Promise<undefined>;
  /** @throws CodedError unknown-exchange, dealing-conflict */
  withdrawDealing(call: For<{ dealing: string }>): Promise<undefined>;
  /**
   * Spends an attempt. @param call KE1: 98 bytes, with its elements uncompressed by the caller: that takes
   * longer than checking them @returns KE2: 259 bytes
   * @throws CodedError locked, attempts-under-way, unknown-exchange when the dealing is not held, invalid-message
   */
  startRecovery(
    call: For<Login & { dealing?: string }>,
  ): Promise<{ recoveryId: string; KE2: Uint8Array; attemptsRemaining: number }>;
  /**
   * The same message again is answered the same.
   * @param call KE3: 32 bytes @throws CodedError wrong-password, unknown-exchange, exchange-expired
   */
  finishRecovery(call: For<{ recoveryId: string; KE3: Uint8Array }>): Promise<Recovered>;
  /** The attempt stays spent. @throws CodedError unknown-exchange, exchange-expired, invalid-message */
  abandonRecovery(call: For<{ recoveryId: string }>): Promise<undefined>;
}
