import type pkcs11 from 'pkcs11js';
import { CodedError, type ErrorCode } from '../../protocol/terms.js';

const CKF_USER_PIN_FINAL_TRY = 0x20000;
const CKF_USER_PIN_LOCKED = 0x40000;

/** The name of a PKCS#11 return value. */
export type ReturnValue = Extract<keyof typeof pkcs11, `CKR_${string}`>;

/** Why the token failed: what its module returned, or what the vault found. */
export type TokenReason =
  | ReturnValue
  | 'BKV_ATTRIBUTE'
  | 'BKV_AWAY'
  | 'BKV_BACKUP'
  | 'BKV_CLOSED'
  | 'BKV_DERIVE'
  | 'BKV_EXPORTABLE'
  | 'BKV_FENCED'
  | 'BKV_FILES'
  | 'BKV_FIRST_EDITION'
  | 'BKV_HMAC'
  | 'BKV_KEY'
  | 'BKV_KEY_PAIR'
  | 'BKV_LABEL'
  | 'BKV_MODULE'
  | 'BKV_NO_FFI'
  | 'BKV_NO_SLOT'
  | 'BKV_NO_TOKEN'
  | 'BKV_NOT_WRITTEN'
  | 'BKV_PIN_LAST_TRY'
  | 'BKV_PIN_REFUSED'
  | 'BKV_POINT'
  | 'BKV_STALE'
  | 'BKV_TOKEN'
  | 'BKV_TOKENS'
  | 'BKV_UNSAFE_KEY';

/** The token, or the way to it, failed. */
export class TokenError extends CodedError {
  constructor(
    message: string,
    readonly reason: TokenReason = 'BKV_TOKEN',
    code: ErrorCode = 'token-failed',
  ) {
    super(code, message);
  }
}

/** A profile in `hsm-config/` that cannot be used. */
export class ProfileError extends CodedError {
  constructor(message: string) {
    super('profile-invalid', message);
  }
}

/** A file with a secret that others besides its owner can read. */
export class ReadableByOthers extends ProfileError {}

/** What to do about a PIN that is right but not accepted. */
const REMEDIES: ReadonlyMap<TokenReason, string> = new Map([
  ['CKR_PIN_LOCKED', "it is locked: only the security officer can set a new one, with the vendor's tool"],
  ['CKR_PIN_EXPIRED', "it has expired: change it with the vendor's tool, and then where the profile says"],
]);

/** The token refused the PIN. It is never tried again automatically, because that could lock the token. */
export class PinRefused extends TokenError {
  constructor(message: string, reason?: TokenReason) {
    super(message, reason, 'pin-refused');
  }

  /** @param why where the reason's name says too little */
  static because(reason: TokenReason, why: string = REMEDIES.get(reason) ?? reason): PinRefused {
    return new PinRefused(
      `the token refuses the PIN (${why}); it is not tried again: correct it, then restart`,
      reason,
    );
  }

  /**
   * @param flags of CK_TOKEN_INFO @throws PinRefused when one more wrong PIN would lock the token, or the
   * token is locked
   */
  static check(flags: number): void {
    if (flags & CKF_USER_PIN_LOCKED) throw PinRefused.because('CKR_PIN_LOCKED');
    if (flags & CKF_USER_PIN_FINAL_TRY)
      throw PinRefused.because(
        'BKV_PIN_LAST_TRY',
        'one try is left before it locks; log in by hand with the right one first',
      );
  }
}
