import {
  constants,
  createECDH,
  createPublicKey,
  type KeyObject,
  publicEncrypt,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import type * as Graphene from 'graphene-pk11';
import { TokenError } from './errors.js';
import type { Profile } from './profile.js';
import {
  APPLICATION,
  BACKUP_LABEL,
  fieldElement,
  KEY_LABELS,
  type KeyLabel,
  keyWrapOf,
  OAEP,
  rsaSpki,
} from './session.js';
import {
  graphene,
  hasToken,
  listKeys,
  makeRsaPair,
  P256,
  RW,
  slotOf,
  usageOf,
  withMadeToken,
  withModule,
  withSession,
} from './setup.js';

/**
 * The long-lived keys of a token, wrapped for the token of its backup. Byte strings are base64.
 *
 * `kek` is an AES-256 key under the backup token's RSA key (OAEP); it wraps each key (RFC 5649). Public halves are an
 * uncompressed point and a SubjectPublicKeyInfo.
 */
export interface EscrowedKeys {
  readonly kek: string;
  readonly keys: Readonly<Record<KeyLabel, string>>;
  readonly staticPublicKey: string;
  readonly transportPublicKey: string;
}

/** A wrapping key under the backup token's RSA key, and a key pair that it wraps, to try it with. Base64. */
export interface EscrowedWrappingKey {
  readonly label: string;
  readonly wrapped: string;
  readonly check: { readonly wrapped: string; readonly publicKey: string };
}

/** All that a backup token takes in. */
export interface TokenSecrets {
  readonly long: EscrowedKeys;
  readonly wrapping: readonly EscrowedWrappingKey[];
  /** what each HMAC key answers */
  readonly macs: readonly { readonly label: KeyLabel; readonly data: Uint8Array; readonly mac: Uint8Array }[];
}

/** Label of the data object that holds a token's {@link EscrowedKeys}. */
export const ESCROW_LABEL = 'bkv.backup.keys';

const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const decode = (text: string): Buffer => Buffer.from(text, 'base64');

/**
 * Makes a backup token, where it is missing, and its key pair, whose secret half never leaves it.
 * @param profile its PIN is the one that the token gets
 * @returns the public key, SubjectPublicKeyInfo (DER)
 */
export function initializeBackupToken(profile: Profile, soPin: string): Uint8Array {
  let publicKey: Uint8Array = new Uint8Array();
  withModule(profile, (module) => {
    withMadeToken(module, profile, soPin, (session) => {
      if (keysNamed(session, graphene.ObjectClass.PRIVATE_KEY, BACKUP_LABEL).length === 0)
        makeRsaPair(session, BACKUP_LABEL, {
          token: true,
          private: true,
          label: BACKUP_LABEL,
          sensitive: true,
          extractable: false,
          unwrap: true,
          decrypt: false,
          sign: false,
        });
      publicKey = spkiOf(only(session, graphene.ObjectClass.PUBLIC_KEY, BACKUP_LABEL));
    });
  });
  return publicKey;
}

/**
 * Has a token trust the public key of its backup, and keeps its long-lived keys, wrapped for that one, in a data
 * object. Only the security officer can do it: PKCS#11 lets nobody else set CKA_TRUSTED. Done again, it changes
 * nothing.
 * @param publicKey SubjectPublicKeyInfo (DER)
 * @throws TokenError when the keys were made to never leave the token, or it trusts another key already
 */
export function escrowKeys(profile: Profile, soPin: string, publicKey: Uint8Array): void {
  withModule(profile, (module) => {
    let done = false;
    withSession(module, profile, (session) => {
      const [trusted] = keysNamed(session, graphene.ObjectClass.PUBLIC_KEY, BACKUP_LABEL);
      if (trusted && !Buffer.from(publicKey).equals(spkiOf(trusted)))
        throw new TokenError('the token has another backup token already', 'BKV_BACKUP');
      const own = only(session, graphene.ObjectClass.PRIVATE_KEY, KEY_LABELS.static);
      if (own.getAttribute({ extractable: null }).extractable !== true)
        throw new TokenError(
          'the keys of this token were made to never leave it, so that it cannot be backed up',
          'BKV_BACKUP',
        );
      const escrow = { class: graphene.ObjectClass.DATA, label: ESCROW_LABEL };
      done = session.find(escrow).length > 0;
    });
    if (done) return;
    const slot = slotOf(module, profile) as Graphene.Slot;
    const session = slot.open(RW);
    try {
      session.login(soPin, graphene.UserType.SO);
      const backupKey =
        keysNamed(session, graphene.ObjectClass.PUBLIC_KEY, BACKUP_LABEL)[0] ?? trust(session, publicKey);
      // A session object that is not private outlives the change of user.
      const kek = session.generateKey(graphene.KeyGenMechanism.AES, {
        token: false,
        private: false,
        valueLen: 32,
        sensitive: true,
        extractable: true,
        wrapWithTrusted: true,
        trusted: true,
        wrap: true,
        unwrap: false,
        encrypt: false,
        decrypt: false,
      });
      session.logout();
      withSession(module, profile, (user) => {
        const p11 = user.lib;
        const keyWrap = { mechanism: keyWrapOf(profile, p11, slot.handle) };
        const wrap = (label: KeyLabel): string => {
          const key = only(user, usageOf(label).class as number, label);
          return encode(p11.C_WrapKey(user.handle, keyWrap, kek.handle, key.handle, Buffer.alloc(4096)));
        };
        const escrowed: EscrowedKeys = {
          kek: encode(p11.C_WrapKey(user.handle, OAEP, backupKey.handle, kek.handle, Buffer.alloc(512))),
          keys: Object.fromEntries(Object.values(KEY_LABELS).map((label) => [label, wrap(label)])) as Record<
            KeyLabel,
            string
          >,
          staticPublicKey: encode(pointOf(only(user, graphene.ObjectClass.PUBLIC_KEY, KEY_LABELS.static))),
          transportPublicKey: encode(
            spkiOf(only(user, graphene.ObjectClass.PUBLIC_KEY, KEY_LABELS.transport)),
          ),
        };
        createData(user, ESCROW_LABEL, Buffer.from(JSON.stringify(escrowed)));
      });
    } finally {
      session.close();
    }
  });
}

const createData = (session: Graphene.Session, label: string, value: Uint8Array): Graphene.SessionObject =>
  session.create({
    class: graphene.ObjectClass.DATA,
    token: true,
    private: true,
    application: APPLICATION,
    label,
    value: Buffer.from(value),
  });

function trust(session: Graphene.Session, publicKey: Uint8Array): Graphene.SessionObject {
  const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
  return session.create({ ...rsaTemplate(key), label: BACKUP_LABEL, trusted: true });
}

/**
 * Takes the keys of a backup into the token that they are wrapped for, and tries each one.
 * @param keep whether they stay; else they are session objects, gone when this returns: a rehearsal
 * @param objects data objects that are written with them, by what the ledger key makes of bytes (HMAC-SHA-256)
 * @throws TokenError when the token holds a vault already, or a key is not what the backup says
 */
export function restoreSecrets(
  profile: Profile,
  { long, wrapping, macs }: TokenSecrets,
  keep: boolean,
  objects: (
    mac: (data: Uint8Array) => Uint8Array,
  ) => readonly { label: string; value: Uint8Array }[] = () => [],
): void {
  if (!hasToken(profile)) throw new TokenError('the backup token is not there', 'BKV_NO_TOKEN');
  withModule(profile, (module) =>
    withSession(module, profile, (session) => {
      if (keep && keysNamed(session, graphene.ObjectClass.PRIVATE_KEY, KEY_LABELS.static).length > 0)
        throw new TokenError('this token holds a vault already', 'BKV_KEY');
      const made: Graphene.SessionObject[] = [];
      try {
        const ledgerKey = takeIn(session, profile, { long, wrapping, macs }, keep, made);
        const mac = (data: Uint8Array) =>
          session.createSign('SHA256_HMAC', ledgerKey).once(Buffer.from(data));
        for (const { label, value } of objects(mac)) made.push(createData(session, label, value));
      } catch (error) {
        for (const object of made) object.destroy();
        throw error;
      }
    }),
  );
}

function takeIn(
  session: Graphene.Session,
  profile: Profile,
  { long, wrapping, macs }: TokenSecrets,
  keep: boolean,
  made: Graphene.SessionObject[],
): Graphene.Key {
  const { ObjectClass, KeyType } = graphene;
  const keyWrap = { name: keyWrapOf(profile, session.lib, session.slot.handle), params: null };
  const unwrapWith = only(session, ObjectClass.PRIVATE_KEY, BACKUP_LABEL);
  const secret = { token: keep, private: true, sensitive: true, extractable: false };
  const unwrap = (
    mechanism: Graphene.MechanismType,
    key: Graphene.SessionObject,
    wrapped: string,
    template: Graphene.ITemplate,
  ): Graphene.Key => {
    const object = session.unwrapKey(mechanism, key.toType<Graphene.Key>(), decode(wrapped), {
      ...secret,
      ...template,
    });
    made.push(object);
    return object;
  };
  const oaep = { name: OAEP.mechanism, params: oaepParams() };
  const aes = { class: ObjectClass.SECRET_KEY, keyType: KeyType.AES };
  const kek = unwrap(oaep, unwrapWith, long.kek, { ...aes, token: false, unwrap: true });
  const keys = Object.fromEntries(
    Object.values(KEY_LABELS).map((label) => [
      label,
      unwrap(keyWrap, kek, long.keys[label], { ...usageOf(label), label }),
    ]),
  ) as Record<KeyLabel, Graphene.Key>;
  kek.destroy();
  made.splice(made.indexOf(kek), 1);

  for (const { label, data, mac } of macs)
    same(session.createSign('SHA256_HMAC', keys[label]).once(Buffer.from(data)), mac, label);
  checkPair(session, keys[KEY_LABELS.static], decode(long.staticPublicKey), KEY_LABELS.static);
  const transport = createPublicKey({ key: decode(long.transportPublicKey), format: 'der', type: 'spki' });
  const probe = randomBytes(32);
  const wrappedProbe = publicEncrypt({ key: transport, padding: constants.RSA_PKCS1_OAEP_PADDING }, probe);
  const unwrapped = session.unwrapKey(oaep, keys[KEY_LABELS.transport], wrappedProbe, {
    ...aes,
    token: false,
    private: true,
    sensitive: false,
    extractable: true,
  });
  same(unwrapped.getAttribute({ value: null }).value as Buffer, probe, KEY_LABELS.transport);
  unwrapped.destroy();

  for (const { label, wrapped, check } of wrapping) {
    const key = unwrap(oaep, unwrapWith, wrapped, { ...aes, label, wrap: true, unwrap: true });
    const pair = session.unwrapKey(keyWrap, key, decode(check.wrapped), {
      ...secret,
      token: false,
      ...usageOf(KEY_LABELS.static),
    });
    checkPair(session, pair, decode(check.publicKey), label);
    pair.destroy();
  }
  if (!keep) return keys[KEY_LABELS.ledger];
  const point = Buffer.concat([Buffer.from([4, 65]), decode(long.staticPublicKey)]);
  made.push(
    session.create({
      class: ObjectClass.PUBLIC_KEY,
      keyType: KeyType.EC,
      token: true,
      private: false,
      label: KEY_LABELS.static,
      paramsECDSA: P256(),
      pointEC: point,
    }),
    session.create({ ...rsaTemplate(transport), label: KEY_LABELS.transport }),
  );
  return keys[KEY_LABELS.ledger];
}

/** Whether a secret key is that of a public key (65 bytes): both halves agree with a stranger on one secret. */
function checkPair(session: Graphene.Session, key: Graphene.Key, publicKey: Buffer, label: string): void {
  const stranger = createECDH('prime256v1');
  stranger.generateKeys();
  const derived = session.deriveKey(
    {
      name: 'ECDH1_DERIVE',
      params: new graphene.EcdhParams(graphene.EcKdf.NULL, null as never, stranger.getPublicKey()),
    },
    key,
    {
      class: graphene.ObjectClass.SECRET_KEY,
      keyType: graphene.KeyType.GENERIC_SECRET,
      token: false,
      sensitive: false,
      extractable: true,
      valueLen: 32,
    },
  );
  same(
    fieldElement(derived.getAttribute({ value: null }).value as Buffer),
    stranger.computeSecret(publicKey),
    label,
  );
  derived.destroy();
}

function same(actual: Uint8Array, expected: Uint8Array, label: string): void {
  if (actual.length !== expected.length || !timingSafeEqual(actual, expected))
    throw new TokenError(`the key ${label} of the backup is not the one that it says`, 'BKV_BACKUP');
}

const oaepParams = () => new graphene.RsaOaepParams(graphene.MechanismEnum.SHA1, graphene.RsaMgf.MGF1_SHA1);

const keysNamed = (session: Graphene.Session, objectClass: number, label: string) =>
  listKeys(session, { class: objectClass, label, token: true }).map(({ key }) => key);

function only(session: Graphene.Session, objectClass: number, label: string): Graphene.SessionObject {
  const found = keysNamed(session, objectClass, label);
  if (!found[0] || found[1])
    throw new TokenError(`the token holds ${found.length} keys named ${label}`, 'BKV_KEY');
  return found[0];
}

/** An uncompressed point, 65 bytes; some modules put it into a DER OCTET STRING. */
const pointOf = (key: Graphene.SessionObject): Buffer =>
  (key.getAttribute({ pointEC: null }).pointEC as Buffer).subarray(-65);

function spkiOf(key: Graphene.SessionObject): Buffer {
  const { modulus, publicExponent } = key.getAttribute({ modulus: null, publicExponent: null });
  return rsaSpki(modulus as Buffer, publicExponent as Buffer);
}

function rsaTemplate(key: KeyObject): Graphene.ITemplate {
  const { n, e } = key.export({ format: 'jwk' });
  return {
    class: graphene.ObjectClass.PUBLIC_KEY,
    keyType: graphene.KeyType.RSA,
    token: true,
    private: false,
    modulus: Buffer.from(n as string, 'base64url'),
    publicExponent: Buffer.from(e as string, 'base64url'),
    wrap: true,
    encrypt: false,
    verify: false,
  };
}
