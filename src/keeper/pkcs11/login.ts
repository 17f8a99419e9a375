import pkcs11 from 'pkcs11js';
import { PinRefused, type ReturnValue, TokenError } from './errors.js';
import { returnValueOf } from './failure.js';
import { copyTokens, restoreTokens, softhsmFolder } from './files.js';
import { readPin } from './pin.js';
import type { Profile } from './profile.js';
import { RefusedPins } from './refused.js';

const PIN_REFUSALS: ReadonlySet<number> = new Set([
  pkcs11.CKR_PIN_INCORRECT,
  pkcs11.CKR_PIN_INVALID,
  pkcs11.CKR_PIN_LEN_RANGE,
  pkcs11.CKR_PIN_EXPIRED,
  pkcs11.CKR_PIN_LOCKED,
  pkcs11.CKR_USER_PIN_NOT_INITIALIZED,
]);

/** Return values for a PIN that was tried. */
const TRIES: ReadonlySet<number> = new Set([
  pkcs11.CKR_PIN_INCORRECT,
  pkcs11.CKR_PIN_INVALID,
  pkcs11.CKR_PIN_LEN_RANGE,
]);

/**
 * Initializes the module for this process, unless that was done. Without CKF_OS_LOCKING_OK SoftHSM2 turns its
 * mutexes off.
 */
export function initialize(p11: pkcs11.PKCS11, profile: Profile): void {
  if (profile.files) restoreTokens(softhsmFolder());
  try {
    p11.C_Initialize({
      flags: pkcs11.CKF_OS_LOCKING_OK,
      // pkcs11js 2.1.7 drops the last character.
      ...(profile.initialize !== undefined && { libraryParameters: `${profile.initialize} ` }),
    });
  } catch (error) {
    if ((error as pkcs11.Pkcs11Error).code !== pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) throw error;
  }
}

/** The slots with a token, or the only one of them that the profile allows. */
export const slotsOf = (p11: pkcs11.PKCS11, { slot }: Profile): pkcs11.Handle[] =>
  p11.C_GetSlotList(true).filter((_, index) => slot === undefined || slot === index);

/** The slot of the profile's token; `undefined` when the module has none. @throws TokenError when two could be meant */
export function lookForSlot(p11: pkcs11.PKCS11, profile: Profile): pkcs11.Handle | undefined {
  const { label, serial } = profile.token;
  const matching = slotsOf(p11, profile).filter((slot) => {
    const info = p11.C_GetTokenInfo(slot);
    return (
      (label === undefined || info.label.trim() === label) &&
      (serial === undefined || info.serialNumber.trim() === serial)
    );
  });
  if (matching.length > 1)
    throw new TokenError(
      `${matching.length} tokens of ${profile.name} are named "${label ?? serial}"; name one by serial`,
      'BKV_TOKENS',
    );
  return matching[0];
}

/** The slot of the profile's token. @throws TokenError when there is none, or two */
export function findSlot(p11: pkcs11.PKCS11, profile: Profile): pkcs11.Handle {
  const found = lookForSlot(p11, profile);
  if (found) return found;
  const present = labelsOf(p11);
  const { slot, token } = profile;
  const wanted = `"${token.label ?? token.serial}"${slot === undefined ? '' : ` in slot ${slot}`}`;
  throw new TokenError(
    present.length > 0
      ? `${profile.name} has no token named ${wanted} (it has ${present.join(', ')}). Correct "token" in the profile, or make one with: bkv token init`
      : `${profile.name} shows no token in any slot: the device is away, or its client is not set up`,
    'BKV_NO_TOKEN',
  );
}

/** The labels of the tokens that are there. */
const labelsOf = (p11: pkcs11.PKCS11): string[] =>
  p11.C_GetSlotList(true).map((slot) => {
    const { label, flags } = p11.C_GetTokenInfo(slot);
    return flags & pkcs11.CKF_TOKEN_INITIALIZED ? `"${label.trim()}"` : 'one to be initialized';
  });

/**
 * Logs in the token's user, unless the process is logged in. @throws PinRefused, also when one more wrong PIN
 * would lock the token; ProfileError when there is no PIN
 */
export function login(
  p11: pkcs11.PKCS11,
  session: pkcs11.Handle,
  slot: pkcs11.Handle,
  profile: Profile,
): void {
  PinRefused.check(p11.C_GetTokenInfo(slot).flags);
  const pin = readPin(profile);
  const refused = new RefusedPins(profile);
  refused.check(pin);
  if (profile.files) copyTokens(softhsmFolder());
  try {
    p11.C_Login(session, pkcs11.CKU_USER, pin);
    refused.forget();
  } catch (error) {
    const { code } = error as pkcs11.Pkcs11Error;
    if (TRIES.has(code)) refused.remember(pin);
    if (PIN_REFUSALS.has(code))
      throw PinRefused.because(returnValueOf(error as pkcs11.Pkcs11Error) as ReturnValue);
    if (code !== pkcs11.CKR_USER_ALREADY_LOGGED_IN) throw error;
  } finally {
    if (profile.files) restoreTokens(softhsmFolder());
  }
}
