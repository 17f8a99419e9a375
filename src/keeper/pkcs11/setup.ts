import pkcs11 from 'pkcs11js';
import { Binding, loadModule } from './binding.js';
import { PinRefused, TokenError } from './errors.js';
import { findSlot, initialize, lookForSlot, slotsOf } from './login.js';
import { readPin } from './pin.js';
import type { Profile } from './profile.js';
import { type Provisioned, provision } from './provisioning.js';

/** Whether the module has the profile's token. @throws TokenError */
export function hasToken(profile: Profile): boolean {
  const module = loadModule(profile);
  initialize(module, profile);
  return lookForSlot(module, profile) !== undefined;
}

/**
 * Makes the token, if the module has none of that label, and its long-lived keys. A repeated call changes
 * nothing. @param soPin that of the token that is to be made @param backedUp whether the keys may leave it
 * under a trusted key: see `escrowKeys` @throws TokenError when the token was in use but lacks a key, because
 * a new key would end every account
 */
export function initializeToken(profile: Profile, soPin: string, backedUp = false): Provisioned {
  const binding = openMade(profile, soPin);
  try {
    return provision(binding, backedUp);
  } finally {
    binding.close();
  }
}

/**
 * Logs in to the token. First makes the token if the module has none of that label, and sets its PIN if it
 * has none, which can happen after a start that was cut off.
 * @throws TokenError
 */
export function openMade(profile: Profile, soPin: string): Binding {
  const module = loadModule(profile);
  initialize(module, profile);
  if (!lookForSlot(module, profile)) makeToken(module, profile, soPin);
  try {
    return new Binding(profile, module);
  } catch (error) {
    if (!(error instanceof PinRefused && error.reason === 'CKR_USER_PIN_NOT_INITIALIZED')) throw error;
    makePin(module, findSlot(module, profile), profile, soPin);
    return new Binding(profile, module);
  }
}

function makeToken(module: pkcs11.PKCS11, profile: Profile, soPin: string): void {
  const { label } = profile.token;
  if (!label) throw new TokenError('a new token needs a label in its profile', 'BKV_LABEL');
  const length = Buffer.byteLength(label);
  if (length > 32)
    throw new TokenError(
      `the label "${label}" has ${length} bytes; a token's has 32 at most (CK_TOKEN_INFO)`,
      'BKV_LABEL',
    );
  const free = slotsOf(module, profile).find(
    (slot) => !(module.C_GetTokenInfo(slot).flags & pkcs11.CKF_TOKEN_INITIALIZED),
  );
  if (!free)
    throw new TokenError(
      profile.slot === undefined
        ? `${profile.name} has no free slot for a new token`
        : `slot ${profile.slot} of ${profile.name} is not free for a new token. Correct "slot" in the profile, or leave it out`,
      'BKV_NO_SLOT',
    );
  module.C_InitToken(free, soPin, label + ' '.repeat(32 - length));
  makePin(module, free, profile, soPin);
}

function makePin(module: pkcs11.PKCS11, slot: pkcs11.Handle, profile: Profile, soPin: string): void {
  const session = module.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION);
  try {
    module.C_Login(session, pkcs11.CKU_SO, soPin);
    module.C_InitPIN(session, readPin(profile));
    module.C_Logout(session);
  } finally {
    module.C_CloseSession(session);
  }
}

/** Gives the token's user another PIN. */
export function changePin(profile: Profile, pin: string): void {
  const binding = new Binding(profile);
  try {
    binding.p11.C_SetPIN(binding.session, readPin(profile), pin);
  } finally {
    binding.close();
  }
}
