import type { Status } from './accounts.js';
import type { ShareRegistration } from './dealings.js';

/** Whom a call is for, as the keeper's caller received it. */
export interface Caller {
  /** JWT (RFC 7519) that names the account in `sub`; the keeper checks it, whoever has checked it before */
  readonly accessToken: string;
  /** UUID that stands in the logs of both sides */
  readonly requestId: string;
}

export interface Identity {
  /** 33 bytes, for clients to pin */
  readonly serverPublicKey: Uint8Array;
  /** SubjectPublicKeyInfo of an RSA key, for clients to pin */
  readonly transportPublicKey: Uint8Array;
  readonly maxAttempts: number;
}

/**
 * The seam between the trusted part and its callers: HTTP over the keeper's socket, tests and embedding in process.
 *
 * The keeper
 * - MUST check the access token of every call that has a {@link Caller}, and the lengths of all bytes, itself;
 * - MUST have an attempt counted durably in the token before `startRecovery` resolves;
 * - MUST have `finishRegistration` and `registerShare` durable before they resolve, and MAY keep the account's older key
 *   until then;
 * - MUST reject with a CodedError, and with no other error;
 * - MUST NOT tell an unknown account from a known one, by answer or by time, but to who holds its access token;
 * - MAY reject any call with `unavailable`, `overloaded` or `rate-limited`, and then nothing was spent;
 * - MAY answer calls in another order than they came in.
 *
 * A caller
 * - MUST NOT take a call that was cut off (`unavailable` because the keeper ended) for one that had no effect;
 * - MAY call at any time, also while the keeper stands by.
 *
 * Exchange ids are 16 bytes as 22 base64url characters; a dealing is 16 bytes as 32 hexadecimal digits.
 */
export interface KeeperApi {
  identity(): Promise<Identity>;
  /** @throws CodedError unauthorized */
  status(caller: Caller): Promise<Status>;
  delete(caller: Caller): Promise<void>;
  /** @param registrationRequest 33 bytes @returns registrationResponse, 66 bytes @throws CodedError invalid-message */
  startRegistration(
    caller: Caller,
    registrationRequest: Uint8Array,
  ): Promise<{ registrationId: string; registrationResponse: Uint8Array }>;
  /** @throws CodedError unknown-exchange, invalid-message */
  finishRegistration(
    caller: Caller,
    registration: {
      readonly registrationId: string;
      /** 129 bytes */
      readonly registrationRecord: Uint8Array;
      /** 1 to 512 bytes */
      readonly encryptedBackupKey: Uint8Array;
    },
  ): Promise<void>;
  /** @throws CodedError invalid-message */
  registerShare(caller: Caller, share: ShareRegistration): Promise<void>;
  /** @throws CodedError unknown-exchange */
  commitDealing(caller: Caller, dealing: string): Promise<void>;
  /** Spends an attempt. @param KE1 98 bytes @returns KE2, 259 bytes @throws CodedError locked, invalid-message */
  startRecovery(
    caller: Caller,
    recovery: { readonly KE1: Uint8Array; readonly dealing?: string },
  ): Promise<{ recoveryId: string; KE2: Uint8Array; attemptsRemaining: number }>;
  /** @param KE3 32 bytes @returns the encrypted backup key @throws CodedError wrong-password, unknown-exchange */
  finishRecovery(
    caller: Caller,
    proof: { readonly recoveryId: string; readonly KE3: Uint8Array },
  ): Promise<Uint8Array>;
  /** @throws CodedError unknown-exchange */
  abandonRecovery(caller: Caller, recoveryId: string): Promise<void>;
}
