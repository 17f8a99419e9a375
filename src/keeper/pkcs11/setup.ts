import { createRequire } from 'node:module';
import type * as Graphene from 'graphene-pk11';
import pkcs11 from 'pkcs11js';
import { PinRefused, TokenError } from './errors.js';
import { BACKUP_LABEL, KEY_LABELS, type KeyLabel } from './keyring.js';
import { findSlot, initialize, login, lookForSlot } from './login.js';
import { APPLICATION } from './objects.js';
import { type Profile, readPin } from './profile.js';
import { hmacKey, staticKey, staticPublicKey, wrapKey } from './templates.js';

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
 * @returns labels of the keys that were made
 * @throws TokenError when the token holds counters but lacks a key: a new one would end every account
 */
export function initializeToken(profile: Profile, soPin: string, backedUp = false): string[] {
  const made: string[] = [];
  withModule(profile, (module) => {
    withMadeToken(module, profile, soPin, (session) => {
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
        // Half of a pair, left by a start that was cut off.
        for (const { key } of listKeys(session, { label, token: true })) key.destroy();
        makeKey(session, label, label, backedUp);
        made.push(label);
      }
    });
  });
  return made;
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

/** The attributes of the secret half of a long-lived key. @param label of another key of this kind */
export function templateOf(
  kind: KeyLabel,
  use: { backedUp: boolean; token?: boolean },
  label: string = kind,
): pkcs11.Template {
  if (kind === KEY_LABELS.static) return staticKey(label, use);
  return kind === KEY_LABELS.wrap ? wrapKey(label, use) : hmacKey(label, use);
}

/**
 * Makes a key in the token, of the kind that the vault has for one of {@link KEY_LABELS}.
 * @param backedUp whether it may leave the token under a key that the security officer trusts; else it never does
 */
export function makeKey(session: Graphene.Session, kind: KeyLabel, label: string, backedUp = false): void {
  const { lib, handle } = session;
  const secret = templateOf(kind, { backedUp }, label);
  if (kind === KEY_LABELS.static)
    lib.C_GenerateKeyPair(handle, { mechanism: pkcs11.CKM_EC_KEY_PAIR_GEN }, staticPublicKey(label), secret);
  else
    lib.C_GenerateKey(
      handle,
      {
        mechanism: kind === KEY_LABELS.wrap ? pkcs11.CKM_AES_KEY_GEN : pkcs11.CKM_GENERIC_SECRET_KEY_GEN,
      },
      [...secret, { type: pkcs11.CKA_VALUE_LEN, value: 32 }],
    );
}

/** A pair of 3,072 bits, whose public half wraps and does nothing else. */
export function makeRsaPair(session: Graphene.Session, label: string, secret: Graphene.ITemplate): void {
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
    secret,
  );
}

/**
 * Refuses a token whose long-lived keys are missing or could leave it, other than to the token of its backup.
 * @throws TokenError naming the key and the attribute
 */
export function inspectToken(profile: Profile): void {
  withModule(profile, (module) =>
    withSession(module, profile, (session) => {
      const keys = longLivedKeys(session);
      if (keys.some(({ label }) => label === BACKUP_LABEL))
        throw new TokenError(
          `this is a backup token, or one whose restore was cut off: it holds the secret half of ${BACKUP_LABEL}. Run: bkv token restore`,
          'BKV_UNSAFE_KEY',
        );
      for (const label of Object.values(KEY_LABELS)) {
        const found = keys.filter((key) => key.label === label);
        if (found.length !== 1) {
          throw new TokenError(
            `the token holds ${found.length} keys named ${label}; it must hold one. Run: bkv token init`,
            'BKV_KEY',
          );
        }
      }
      let extractable = false;
      for (const { label, key } of keys) {
        const attributes = key.getAttribute({
          sensitive: null,
          extractable: null,
          alwaysSensitive: null,
          neverExtractable: null,
          local: null,
        });
        const wrong = weakness(key, attributes, profile.restored);
        // A crash while a page's key was made leaves it without CKA_LOCAL. Nothing is sealed under such a key yet.
        if (wrong === 'CKA_LOCAL' && label.startsWith('bkv.page.')) {
          key.destroy();
          continue;
        }
        extractable ||= attributes.extractable !== false;
        if (wrong)
          throw new TokenError(
            `the key ${label} lacks ${wrong}: it was not made in the token, or can leave it`,
            'BKV_UNSAFE_KEY',
          );
      }
      if (extractable) checkTrust(session);
    }),
  );
}

/** The attribute that a key lacks to be one that leaves the token for its backup only, or never. */
function weakness(
  key: Graphene.SessionObject,
  { sensitive, extractable, alwaysSensitive, neverExtractable, local }: Graphene.ITemplate,
  restored: boolean,
): string | undefined {
  const forBackup = extractable && key.getAttribute({ wrapWithTrusted: null }).wrapWithTrusted;
  const held = {
    CKA_SENSITIVE: sensitive,
    'CKA_EXTRACTABLE=false or CKA_WRAP_WITH_TRUSTED': extractable === false || forBackup,
    // Of a key that came out of a backup the token cannot know where it was before: the ceremony vouches for it.
    CKA_ALWAYS_SENSITIVE: restored || alwaysSensitive,
    CKA_NEVER_EXTRACTABLE: restored || forBackup || neverExtractable,
    CKA_LOCAL: restored || local,
  };
  return Object.entries(held).find(([, holds]) => !holds)?.[0];
}

/** Only the security officer can make a key trusted; what is wrapped with trusted keys only leaves under those. */
function checkTrust(session: Graphene.Session): void {
  const trusted = [graphene.ObjectClass.PUBLIC_KEY, graphene.ObjectClass.SECRET_KEY].flatMap((objectClass) =>
    listKeys(session, { class: objectClass, trusted: true }),
  );
  const other = trusted.find(({ label }) => label !== BACKUP_LABEL);
  if (other || trusted.length > 1)
    throw new TokenError(
      `the token trusts ${other?.label || 'a second key'} to wrap its keys: only ${BACKUP_LABEL} may be trusted, once`,
      'BKV_UNSAFE_KEY',
    );
}

const CKF_OS_LOCKING_OK = 2;
export const RW = 4 | 2; // CKF_SERIAL_SESSION | CKF_RW_SESSION

function longLivedKeys(session: Graphene.Session): { label: string; key: Graphene.SessionObject }[] {
  return [graphene.ObjectClass.PRIVATE_KEY, graphene.ObjectClass.SECRET_KEY]
    .flatMap((objectClass) => listKeys(session, { class: objectClass, token: true }))
    .filter(({ label }) => label.startsWith('bkv.'));
}

export function listKeys(session: Graphene.Session, template: Graphene.ITemplate) {
  const found = session.find(template);
  return Array.from({ length: found.length }, (_, i) => found.items(i)).map((key) => ({
    label: String(key.getAttribute({ label: null }).label),
    key,
  }));
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
  const module = graphene.Module.load(profile.module, profile.name);
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
