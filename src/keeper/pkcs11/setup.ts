import { createRequire } from 'node:module';
import type * as Graphene from 'graphene-pk11';
import { Binding, load } from './binding.js';
import { PinRefused, TokenError } from './errors.js';
import { findSlot, initialize, login, lookForSlot } from './login.js';
import { readPin } from './pin.js';
import type { Profile } from './profile.js';
import { type Provisioned, provision } from './provisioning.js';

// graphene-pk11 is CommonJS and its named exports are not statically visible.
export const graphene = createRequire(import.meta.url)('graphene-pk11') as typeof Graphene;

/** Whether the module has the profile's token. @throws TokenError */
export function hasToken(profile: Profile): boolean {
  let found = false;
  withModule(profile, (module) => {
    found = slotOf(module, profile) !== undefined;
  });
  return found;
}

/**
 * Makes the token (when the module has none of that label) and its long-lived keys. Done again, it changes nothing.
 * @param soPin of the token that is to be made
 * @param backedUp whether the keys may leave it under a trusted key: see `escrowKeys`
 * @throws TokenError when the token was in use but lacks a key: a new one would end every account
 */
export function initializeToken(profile: Profile, soPin: string, backedUp = false): Provisioned {
  withModule(profile, (module) => withMadeToken(module, profile, soPin, () => undefined));
  const binding = new Binding(profile);
  try {
    return provision(binding, backedUp);
  } finally {
    binding.close();
  }
}

/** Makes the token when the module has none of that label, and its PIN when it has none, as after a start cut off. */
export function withMadeToken(
  module: Graphene.Module,
  profile: Profile,
  soPin: string,
  use: (session: Graphene.Session) => void,
): void {
  if (!slotOf(module, profile)) makeToken(module, profile, soPin);
  try {
    withSession(module, profile, use);
  } catch (error) {
    if (!(error instanceof PinRefused && error.reason === 'CKR_USER_PIN_NOT_INITIALIZED')) throw error;
    makePin(module, profile, soPin);
    withSession(module, profile, use);
  }
}

function makeToken(module: Graphene.Module, profile: Profile, soPin: string): void {
  const { label } = profile.token;
  if (!label) throw new TokenError('a new token needs a label in its profile', 'BKV_LABEL');
  if (Buffer.byteLength(label) > 32)
    throw new TokenError(
      `the label "${label}" has ${Buffer.byteLength(label)} bytes; a token's has 32 at most (CK_TOKEN_INFO)`,
      'BKV_LABEL',
    );
  const slots = module.getSlots(true);
  let free: Graphene.Slot | undefined;
  for (let i = 0; i < slots.length && !free; i++) {
    const slot = slots.items(i);
    if (!(slot.getToken().flags & graphene.TokenFlag.TOKEN_INITIALIZED)) free = slot;
  }
  if (!free) throw new TokenError(`${profile.name} has no free slot for a new token`, 'BKV_NO_SLOT');
  // Slot.initToken of graphene-pk11 2.3 trips over the undefined that C_InitToken returns in pkcs11js 2.1.
  module.lib.C_InitToken(free.handle, soPin, label + ' '.repeat(32 - Buffer.byteLength(label)));
  makePin(module, profile, soPin);
}

function makePin(module: Graphene.Module, profile: Profile, soPin: string): void {
  const session = (slotOf(module, profile) as Graphene.Slot).open(RW);
  session.login(soPin, graphene.UserType.SO);
  session.initPin(readPin(profile));
  session.logout();
  session.close();
}

/** Gives the token's user another PIN. */
export function changePin(profile: Profile, pin: string): void {
  withModule(profile, (module) =>
    withSession(module, profile, (session) => session.setPin(readPin(profile), pin)),
  );
}

const CKF_OS_LOCKING_OK = 2;
export const RW = 4 | 2; // CKF_SERIAL_SESSION | CKF_RW_SESSION

export function listKeys(session: Graphene.Session, template: Graphene.ITemplate) {
  const found = session.find(template);
  return Array.from({ length: found.length }, (_, i) => found.items(i)).map((key) => ({
    label: labelOf(key),
    key,
  }));
}

/** Empty where an object has none, as those of other programs. */
function labelOf(key: Graphene.SessionObject): string {
  try {
    return String(key.getAttribute({ label: null }).label);
  } catch {
    return '';
  }
}

/** The slot of the profile's token; `undefined` when the module has none. @throws TokenError when two could be meant */
export function slotOf(module: Graphene.Module, profile: Profile): Graphene.Slot | undefined {
  const handle = lookForSlot(module.lib, profile);
  const slots = module.getSlots(true);
  for (let i = 0; handle && i < slots.length; i++) {
    const slot = slots.items(i);
    if (slot.handle.equals(handle)) return slot;
  }
  return undefined;
}

export function withModule(profile: Profile, use: (module: Graphene.Module) => void): void {
  const module = load(profile.module, () => graphene.Module.load(profile.module, profile.name));
  initialize(module.lib, profile);
  // Done again it changes nothing; graphene-pk11 learns what it tells of the module.
  module.initialize({ flags: CKF_OS_LOCKING_OK });
  use(module);
}

export function withSession(
  module: Graphene.Module,
  profile: Profile,
  use: (session: Graphene.Session) => void,
): void {
  const handle = findSlot(module.lib, profile);
  const slot = slotOf(module, profile) as Graphene.Slot;
  const session = slot.open(RW);
  try {
    login(module.lib, session.handle, handle, profile);
    use(session);
  } finally {
    session.close();
  }
}
