import pkcs11 from 'pkcs11js';
import { CodedError, type ErrorCode } from '../../protocol/terms.js';
import { InvalidInput, PinRefused, ProfileError, TokenError } from './errors.js';

/** An error of a session, on its way from its thread. */
export interface Failure {
  readonly code: ErrorCode;
  /** the name of the PKCS#11 return value, where there was one */
  readonly reason: string | undefined;
  readonly message: string;
  /** a handle that was good when the session began is not any more */
  readonly stale: boolean;
}

const STALE: ReadonlySet<number> = new Set([
  pkcs11.CKR_SESSION_HANDLE_INVALID,
  pkcs11.CKR_OBJECT_HANDLE_INVALID,
  pkcs11.CKR_KEY_HANDLE_INVALID,
  pkcs11.CKR_WRAPPING_KEY_HANDLE_INVALID,
  pkcs11.CKR_UNWRAPPING_KEY_HANDLE_INVALID,
]);

export function failureOf(error: unknown): Failure {
  const { message } = error as Error;
  // Of a PKCS#11 return value pkcs11js makes the name the message.
  if (error instanceof pkcs11.Pkcs11Error)
    return { code: 'token-failed', reason: message, message, stale: STALE.has(error.code) };
  const code = error instanceof CodedError ? error.code : 'token-failed';
  const reason = error instanceof TokenError ? error.reason : undefined;
  return { code, reason, message, stale: false };
}

/** Whether the token failed; else what it was given is wrong. */
export const isOfToken = ({ code }: Failure): boolean => code !== 'invalid-message';

/** The error that a failure was. @param what stands before its message */
export function errorOf({ code, reason, message }: Failure, what = ''): Error {
  if (code === 'pin-refused') return new PinRefused(message, reason);
  const text = what + message;
  if (code === 'invalid-message') return new InvalidInput(text);
  if (code === 'profile-invalid') return new ProfileError(text);
  return new TokenError(text, reason);
}
