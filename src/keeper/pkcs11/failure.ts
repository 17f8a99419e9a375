import pkcs11 from 'pkcs11js';
import { CodedError, type ErrorCode } from '../../protocol/terms.js';
import { InvalidInput } from '../elements/index.js';
import { PinRefused, ProfileError, type ReturnValue, TokenError, type TokenReason } from './errors.js';

/** An error of a session, on its way from its thread. */
export interface Failure {
  readonly code: ErrorCode;
  readonly reason: TokenReason | undefined;
  readonly message: string;
  /** a handle that was valid when the session began no longer is */
  readonly stale: boolean;
}

const STALE: ReadonlySet<number> = new Set([
  pkcs11.CKR_SESSION_HANDLE_INVALID,
  pkcs11.CKR_OBJECT_HANDLE_INVALID,
  pkcs11.CKR_KEY_HANDLE_INVALID,
  pkcs11.CKR_WRAPPING_KEY_HANDLE_INVALID,
  pkcs11.CKR_UNWRAPPING_KEY_HANDLE_INVALID,
]);

const NAMES = new Map(
  Object.entries(pkcs11)
    .filter(([name]) => name.startsWith('CKR_'))
    .map(([name, value]) => [value as number, name as ReturnValue]),
);

/** The name of what the module returned; `undefined` for a value of the vendor's own. */
export const returnValueOf = ({ code }: pkcs11.Pkcs11Error): ReturnValue | undefined => NAMES.get(code);

export function failureOf(error: unknown): Failure {
  const { message } = error as Error;
  if (error instanceof pkcs11.Pkcs11Error)
    return { code: 'token-failed', reason: returnValueOf(error), message, stale: STALE.has(error.code) };
  const code = error instanceof CodedError ? error.code : 'token-failed';
  const reason = error instanceof TokenError ? error.reason : undefined;
  return { code, reason, message, stale: false };
}

/** Whether the token failed; otherwise its input was wrong. */
export const isOfToken = ({ code }: Failure): boolean => code !== 'invalid-message';

/** The error that a failure was made from. @param what is put before its message */
export function errorOf({ code, reason, message }: Failure, what = ''): Error {
  if (code === 'pin-refused') return new PinRefused(message, reason);
  const text = what + message;
  if (code === 'invalid-message') return new InvalidInput(text);
  if (code === 'profile-invalid') return new ProfileError(text);
  return new TokenError(text, reason);
}
