import { createPublicKey } from 'node:crypto';
import type * as Graphene from 'graphene-pk11';
import pkcs11 from 'pkcs11js';
import { harden } from './attributes.js';
import { keyWrapOf } from './binding.js';
import { TokenError } from './errors.js';
import { graphene, listKeys, RW, slotOf, withModule, withSession } from './graphene.js';
import { OAEP, rsaSpki } from './keyring.js';
import { BACKUP_LABEL, KEY_LABELS, type KeyLabel } from './labels.js';
import { APPLICATION } from './objects.js';
import type { Profile } from './profile.js';
import { openMade } from './setup.js';
import { backupKey, backupKeyHardenings, backupPublicKey } from './templates.js';

/**
 * The long-lived keys of a token, wrapped for its backup token. Byte strings are base64.
 *
 * `kek` is an AES-256 key under the backup token's RSA key (OAEP, 384 bytes); it wraps each key (RFC 5649).
 */
export interface EscrowedKeys {
  readonly kek: string;
  readonly keys: Readonly<Record<KeyLabel, string>>;
  /** uncompressed point, 65 bytes */
  readonly staticPublicKey: string;
}

/** Label of the data object that holds a token's {@link EscrowedKeys}. */
export const ESCROW_LABEL = 'bkv.backup.keys';

const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

/**
 * Makes a backup token, if it is missing, and its key pair, whose private half never leaves it. @param
 * profile its PIN becomes the token's
 * @returns the public key, SubjectPublicKeyInfo (DER)
 */
export function initializeBackupToken(profile: Profile, soPin: string): Uint8Array {
  openMade(profile, soPin).close();
  let publicKey: Uint8Array = new Uint8Array();
  withModule(profile, (module) => {
    withSession(module, profile, (session) => {
      if (keysNamed(session, graphene().ObjectClass.PRIVATE_KEY, BACKUP_LABEL).length === 0)
        harden(backupKey, backupKeyHardenings(OAEP.mechanism), (secret) =>
          session.lib.C_GenerateKeyPair(
            session.handle,
            { mechanism: pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN },
            backupPublicKey,
            secret,
          ),
        );
      publicKey = spkiOf(only(session, graphene().ObjectClass.PUBLIC_KEY, BACKUP_LABEL));
    });
  });
  return publicKey;
}

/**
 * Makes a token trust the public key of its backup token, and keeps the token's long-lived keys, wrapped for
 * the backup token, in a data object. Only the security officer can do this, because PKCS#11 lets nobody else
 * set CKA_TRUSTED. A repeated call changes nothing.
 * @param publicKey SubjectPublicKeyInfo (DER)
 * @throws TokenError when the keys were made never to leave the token, or when the token already trusts
 * another key
 */
export function escrowKeys(profile: Profile, soPin: string, publicKey: Uint8Array): void {
  withModule(profile, (module) => {
    let done = false;
    withSession(module, profile, (session) => {
      const [trusted] = keysNamed(session, graphene().ObjectClass.PUBLIC_KEY, BACKUP_LABEL);
      if (trusted && !Buffer.from(publicKey).equals(spkiOf(trusted)))
        throw new TokenError('the token already has another backup token', 'BKV_BACKUP');
      const own = only(session, graphene().ObjectClass.PRIVATE_KEY, KEY_LABELS.static);
      if (own.getAttribute({ extractable: null }).extractable !== true)
        throw new TokenError(
          'the keys of this token were made so that they never leave it; it cannot be backed up',
          'BKV_BACKUP',
        );
      const escrow = { class: graphene().ObjectClass.DATA, label: ESCROW_LABEL };
      done = session.find(escrow).length > 0;
    });
    if (done) return;
    const slot = slotOf(module, profile) as Graphene.Slot;
    const session = slot.open(RW);
    try {
      session.login(soPin, graphene().UserType.SO);
      const trusted =
        keysNamed(session, graphene().ObjectClass.PUBLIC_KEY, BACKUP_LABEL)[0] ?? trust(session, publicKey);
      // A session object that is not private survives the change of user.
      const kek = session.generateKey(graphene().KeyGenMechanism.AES, {
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
          const key = only(user, classOf(label), label);
          return encode(p11.C_WrapKey(user.handle, keyWrap, kek.handle, key.handle, Buffer.alloc(4096)));
        };
        const escrowed: EscrowedKeys = {
          kek: encode(p11.C_WrapKey(user.handle, OAEP, trusted.handle, kek.handle, Buffer.alloc(512))),
          keys: Object.fromEntries(Object.values(KEY_LABELS).map((label) => [label, wrap(label)])) as Record<
            KeyLabel,
            string
          >,
          staticPublicKey: encode(pointOf(only(user, graphene().ObjectClass.PUBLIC_KEY, KEY_LABELS.static))),
        };
        createData(user, ESCROW_LABEL, Buffer.from(JSON.stringify(escrowed)));
      });
    } finally {
      session.close();
    }
  });
}

const classOf = (label: KeyLabel): number =>
  label === KEY_LABELS.static ? graphene().ObjectClass.PRIVATE_KEY : graphene().ObjectClass.SECRET_KEY;

const createData = (session: Graphene.Session, label: string, value: Uint8Array): Graphene.SessionObject =>
  session.create({
    class: graphene().ObjectClass.DATA,
    token: true,
    private: true,
    application: APPLICATION,
    label,
    value: Buffer.from(value),
  });

function trust(session: Graphene.Session, publicKey: Uint8Array): Graphene.SessionObject {
  const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
  const { n, e } = key.export({ format: 'jwk' });
  return session.create({
    class: graphene().ObjectClass.PUBLIC_KEY,
    keyType: graphene().KeyType.RSA,
    token: true,
    private: false,
    label: BACKUP_LABEL,
    modulus: Buffer.from(n as string, 'base64url'),
    publicExponent: Buffer.from(e as string, 'base64url'),
    wrap: true,
    encrypt: false,
    verify: false,
    trusted: true,
  });
}

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
