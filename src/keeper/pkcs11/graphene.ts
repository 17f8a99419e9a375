/** graphene-pk11, in which the ceremony of a token's backup is written. */
import { createRequire } from 'node:module';
import type * as Graphene from 'graphene-pk11';
import { load } from './binding.js';
import { findSlot, initialize, login, lookForSlot } from './login.js';
import type { Profile } from './profile.js';

const require = createRequire(import.meta.url);
/** Loaded when it is first used: a keeper does not need it. */
export const graphene = () => require('graphene-pk11') as typeof Graphene;

const CKF_OS_LOCKING_OK = 2;
export const RW = 4 | 2; // CKF_SERIAL_SESSION | CKF_RW_SESSION

export function listKeys(session: Graphene.Session, template: Graphene.ITemplate) {
  const found = session.find(template);
  return Array.from({ length: found.length }, (_, i) => found.items(i)).map((key) => ({
    label: labelOf(key),
    key,
  }));
}

/** A key's label; empty if it has none, like objects of other programs. */
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
  const module = load(profile.module, () => graphene().Module.load(profile.module, profile.name));
  initialize(module.lib, profile);
  // A repeated call changes nothing, but graphene-pk11 needs it to learn about the module.
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
