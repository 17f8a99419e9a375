import { createRequire } from 'node:module';
import type * as Graphene from 'graphene-pk11';
import { PinRefused, TokenError } from './errors.js';
import { type Profile, readPin } from './profile.js';
import { APPLICATION, KEY_LABELS, type KeyLabel } from './session.js';

// graphene-pk11 is CommonJS and its named exports are not statically visible.
const graphene = createRequire(import.meta.url)('graphene-pk11') as typeof Graphene;

/** Whether the module has the profile's token. @throws TokenError */
export function hasToken(profile: Profile): boolean {
  let found = false;
  withModule(profile, (module) => {
    found = findSlot(module, profile) !== undefined;
  });
  return found;
}

/**
 * Makes the token (when the module has none of that label) and its long-lived keys. Done again, it changes nothing.
 * @param soPin of the token that is to be made
 * @returns labels of the keys that were made
 * @throws TokenError when the token holds counters but lacks a key: a new one would end every account
 */
export function initializeToken(profile: Profile, soPin: string): string[] {
  const made: string[] = [];
  withModule(profile, (module) => {
    if (!findSlot(module, profile)) makeToken(module, profile, soPin);
    withSession(module, profile, (session) => {
      const present = new Set(longLivedKeys(session).map((key) => key.label));
      const missing = Object.values(KEY_LABELS).filter((label) => !present.has(label));
      if (
        missing.length > 0 &&
        session.find({ class: graphene.ObjectClass.DATA, application: APPLICATION }).length > 0
      )
        throw new TokenError(
          `the token counts attempts already but lacks ${missing.join(', ')}; put its backup back`,
          'BKV_KEY',
        );
      for (const label of missing) {
        makeKey(session, label, label);
        made.push(label);
      }
    });
  });
  return made;
}

function makeToken(module: Graphene.Module, profile: Profile, soPin: string): void {
  if (!profile.token.label) throw new TokenError('a new token needs a label in its profile', 'BKV_LABEL');
  const slots = module.getSlots(true);
  let free: Graphene.Slot | undefined;
  for (let i = 0; i < slots.length && !free; i++) {
    const slot = slots.items(i);
    if (!(slot.getToken().flags & graphene.TokenFlag.TOKEN_INITIALIZED)) free = slot;
  }
  if (!free) throw new TokenError(`${profile.name} has no free slot for a new token`, 'BKV_NO_SLOT');
  // Slot.initToken of graphene-pk11 2.3 trips over the undefined that C_InitToken returns in pkcs11js 2.1.
  module.lib.C_InitToken(free.handle, soPin, profile.token.label.padEnd(32));
  const session = (findSlot(module, profile) as Graphene.Slot).open(RW);
  session.login(soPin, graphene.UserType.SO);
  session.initPin(readPin(profile));
  session.logout();
  session.close();
}

/** Makes a key in the token that never leaves it, of the kind that the vault has for one of {@link KEY_LABELS}. */
export function makeKey(session: Graphene.Session, kind: KeyLabel, label: string): void {
  const secret = { token: true, private: true, label, sensitive: true, extractable: false };
  if (kind === KEY_LABELS.static)
    session.generateKeyPair(
      graphene.KeyGenMechanism.EC,
      {
        token: true,
        label,
        keyType: graphene.KeyType.EC,
        paramsECDSA: graphene.NamedCurve.getByName('secp256r1').value,
      },
      { ...secret, keyType: graphene.KeyType.EC, derive: true, sign: false },
    );
  else if (kind === KEY_LABELS.transport)
    session.generateKeyPair(
      graphene.KeyGenMechanism.RSA,
      {
        token: true,
        label,
        keyType: graphene.KeyType.RSA,
        modulusBits: 3072,
        publicExponent: Buffer.from([1, 0, 1]),
        wrap: true,
        encrypt: false,
        verify: false,
      },
      { ...secret, keyType: graphene.KeyType.RSA, unwrap: true, decrypt: false, sign: false },
    );
  else
    session.generateKey(graphene.KeyGenMechanism.GENERIC_SECRET, {
      ...secret,
      class: graphene.ObjectClass.SECRET_KEY,
      keyType: graphene.KeyType.GENERIC_SECRET,
      valueLen: 32,
      sign: true,
      verify: true,
      derive: false,
    });
}

/**
 * Refuses a token whose long-lived keys are missing or could leave it.
 * @throws TokenError naming the key and the attribute
 */
export function inspectToken(profile: Profile): void {
  withModule(profile, (module) =>
    withSession(module, profile, (session) => {
      const keys = longLivedKeys(session);
      for (const label of Object.values(KEY_LABELS)) {
        const found = keys.filter((key) => key.label === label);
        if (found.length !== 1) {
          throw new TokenError(
            `the token holds ${found.length} keys named ${label}; it must hold one. Run: bkv token init`,
            'BKV_KEY',
          );
        }
      }
      for (const { label, key } of keys) {
        const wrong = weakness(key);
        if (wrong)
          throw new TokenError(
            `the key ${label} lacks ${wrong}: it was not made in the token, or can leave it`,
            'BKV_UNSAFE_KEY',
          );
      }
    }),
  );
}

/** The attribute that a key lacks to be one that never leaves the token. */
function weakness(key: Graphene.SessionObject): string | undefined {
  const { sensitive, extractable, alwaysSensitive, neverExtractable, local } = key.getAttribute({
    sensitive: null,
    extractable: null,
    alwaysSensitive: null,
    neverExtractable: null,
    local: null,
  });
  const held = {
    CKA_SENSITIVE: sensitive,
    'CKA_EXTRACTABLE=false': extractable === false,
    CKA_ALWAYS_SENSITIVE: alwaysSensitive,
    CKA_NEVER_EXTRACTABLE: neverExtractable,
    CKA_LOCAL: local,
  };
  return Object.entries(held).find(([, holds]) => !holds)?.[0];
}

const CKF_OS_LOCKING_OK = 2;
const RW = 4 | 2; // CKF_SERIAL_SESSION | CKF_RW_SESSION

function longLivedKeys(session: Graphene.Session): { label: string; key: Graphene.SessionObject }[] {
  return [graphene.ObjectClass.PRIVATE_KEY, graphene.ObjectClass.SECRET_KEY].flatMap((objectClass) => {
    const found = session.find({ class: objectClass, token: true });
    return Array.from({ length: found.length }, (_, i) => found.items(i))
      .map((key) => ({ label: String(key.getAttribute({ label: null }).label), key }))
      .filter(({ label }) => label.startsWith('bkv.'));
  });
}

function findSlot(module: Graphene.Module, profile: Profile): Graphene.Slot | undefined {
  const slots = module.getSlots(true);
  for (let i = 0; i < slots.length; i++) {
    const slot = slots.items(i);
    const token = slot.getToken();
    const { label, serial } = profile.token;
    if (
      (label === undefined || token.label.trim() === label) &&
      (serial === undefined || token.serialNumber.trim() === serial)
    )
      return slot;
  }
  return undefined;
}

export function withModule(profile: Profile, use: (module: Graphene.Module) => void): void {
  const module = graphene.Module.load(profile.module, profile.name);
  // The first C_Initialize decides for the whole process; without this flag SoftHSM2 turns its mutexes off.
  module.initialize({ flags: CKF_OS_LOCKING_OK });
  use(module);
}

export function withSession(
  module: Graphene.Module,
  profile: Profile,
  use: (session: Graphene.Session) => void,
): void {
  const slot = findSlot(module, profile);
  if (!slot)
    throw new TokenError(
      `${profile.name} has no token named "${profile.token.label ?? profile.token.serial}". Make one with: bkv token init`,
      'BKV_NO_TOKEN',
    );
  const session = slot.open(RW);
  try {
    try {
      PinRefused.check(slot.getToken().flags);
      session.login(readPin(profile));
    } catch (error) {
      const { message } = error as Error;
      if (PinRefused.pattern.test(message)) throw new PinRefused(message);
      if (!message.includes('ALREADY_LOGGED_IN')) throw error;
    }
    use(session);
  } finally {
    session.close();
  }
}
