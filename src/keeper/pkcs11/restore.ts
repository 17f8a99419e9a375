import { timingSafeEqual } from 'node:crypto';
import pkcs11 from 'pkcs11js';
import { harden } from './attributes.js';
import type { EscrowedKeys } from './backup.js';
import { Binding } from './binding.js';
import { isPair, makeCanary } from './canary.js';
import { TokenError } from './errors.js';
import { hmac, OAEP } from './keyring.js';
import { hardeningsOf, templateOf } from './keys.js';
import { BACKUP_LABEL, KEY_LABELS, type KeyLabel } from './labels.js';
import { dataObject } from './objects.js';
import type { Profile } from './profile.js';
import { hasToken } from './setup.js';
import { backupKek, FIXED, hmacKey, staticPublicKey } from './templates.js';
import { unwrapAccountKey } from './wrapping.js';

/** Everything that a backup token takes in. Strings are base64, except labels. */
export interface TokenSecrets {
  readonly long: EscrowedKeys;
  /** the keys of pages, each under the backup token's RSA key (OAEP, 384 bytes) */
  readonly pages: readonly { readonly label: string; readonly wrapped: string }[];
  /** a pair that `bkv.wrap` wraps, which shows that it is the right key: 80 and 65 bytes */
  readonly pair: { readonly wrapped: string; readonly publicKey: string };
  /** HMACs under the HMAC keys, 32 bytes each */
  readonly macs: readonly { readonly label: string; readonly data: Uint8Array; readonly mac: Uint8Array }[];
}

/** An object that is written into the token with its keys. */
export interface RestoredObject {
  readonly label: string;
  readonly value: Uint8Array;
}

type Keys = ReadonlyMap<string, pkcs11.Handle>;

const decode = (text: string): Buffer => Buffer.from(text, 'base64');

/**
 * Takes the keys of a backup into the token that they are wrapped for, tries each one, and leaves nothing behind.
 * @throws TokenError when a key is not what the backup says
 */
export function rehearseSecrets(profile: Profile, secrets: TokenSecrets): void {
  inToken(profile, (binding) =>
    tryKeys(binding, takeIn(binding, backupKeyOf(binding), secrets, false), secrets),
  );
}

/**
 * Makes the token that a backup is for replace the lost one: takes in its keys, and tries each one. Last of
 * all it destroys the key that could take them in again in another way. If it is cut off before that, it must
 * be begun again.
 * @param objects makes the data objects that are written with the keys; it gets HMAC-SHA-256 under the ledger
 * key
 * @throws TokenError when a key is not what the backup says, or the token holds another vault; the token is
 * then as before
 */
export function restoreSecrets(
  profile: Profile,
  secrets: TokenSecrets,
  objects: (mac: (data: Uint8Array) => Uint8Array) => readonly RestoredObject[],
): void {
  inToken(profile, (binding) => {
    if (isRestored(binding)) return tryKeys(binding, keysOf(binding), secrets);
    const backupKey = backupKeyOf(binding);
    clear(binding);
    try {
      const keys = takeIn(binding, backupKey, secrets, true);
      tryKeys(binding, keys, secrets);
      const ledgerKey = keys.get(KEY_LABELS.ledger) as pkcs11.Handle;
      for (const object of objects((data) => hmac(binding, ledgerKey, data))) write(binding, object);
      const { wrapped, publicKey } = secrets.pair;
      makeCanary(binding, keys, { wrapped: decode(wrapped), publicKey: decode(publicKey) });
    } catch (error) {
      clear(binding);
      throw error;
    }
    binding.destroy(backupKey);
    for (const { handle, label } of ours(binding, [])) if (label === BACKUP_LABEL) binding.destroy(handle);
  });
}

function inToken(profile: Profile, work: (binding: Binding) => void): void {
  if (!hasToken(profile)) throw new TokenError('the backup token is not there', 'BKV_NO_TOKEN');
  const binding = new Binding(profile);
  try {
    work(binding);
  } finally {
    binding.close();
  }
}

/** @returns handles by label, of session objects when they are not to be kept */
function takeIn(
  binding: Binding,
  backupKey: pkcs11.Handle,
  { long, pages }: TokenSecrets,
  keep: boolean,
): Keys {
  const { p11, session, keyWrap } = binding;
  const use = { backedUp: false, token: keep };
  const under = (
    mechanism: pkcs11.Mechanism,
    wrappingKey: pkcs11.Handle,
    wrapped: string,
    template: pkcs11.Template,
    hardenings = FIXED,
  ) =>
    harden(template, hardenings, (whole) =>
      p11.C_UnwrapKey(session, mechanism, wrappingKey, decode(wrapped), whole),
    ).made;
  const kek = under(OAEP, backupKey, long.kek, backupKek);
  const keys = new Map<string, pkcs11.Handle>();
  for (const label of Object.values(KEY_LABELS) as KeyLabel[])
    keys.set(
      label,
      under(keyWrap, kek, long.keys[label], templateOf(label, use), hardeningsOf(label, keyWrap.mechanism)),
    );
  binding.destroy(kek);
  for (const { label, wrapped } of pages)
    keys.set(label, under(OAEP, backupKey, wrapped, hmacKey(label, use)));
  if (keep)
    p11.C_CreateObject(session, [
      ...staticPublicKey(KEY_LABELS.static),
      {
        type: pkcs11.CKA_EC_POINT,
        value: Buffer.concat([Buffer.from([4, 65]), decode(long.staticPublicKey)]),
      },
    ]);
  return keys;
}

/** @throws TokenError naming the key that is not what the backup says */
function tryKeys(binding: Binding, keys: Keys, { long, pair, macs }: TokenSecrets): void {
  const key = (label: string): pkcs11.Handle => {
    const handle = keys.get(label);
    if (!handle) throw new TokenError(`the backup lacks the key ${label}`, 'BKV_BACKUP');
    return handle;
  };
  for (const { label, data, mac } of macs) same(hmac(binding, key(label), data), mac, label);
  checkPair(binding, key(KEY_LABELS.static), decode(long.staticPublicKey), KEY_LABELS.static);
  const { made } = unwrapAccountKey(binding, key(KEY_LABELS.wrap), decode(pair.wrapped));
  binding.using(made, (handle) => checkPair(binding, handle, decode(pair.publicKey), KEY_LABELS.wrap));
}

function checkPair(binding: Binding, key: pkcs11.Handle, publicKey: Buffer, label: string): void {
  if (!isPair(binding, key, publicKey)) throw otherKey(label);
}

function same(actual: Uint8Array, expected: Uint8Array, label: string): void {
  if (actual.length !== expected.length || !timingSafeEqual(actual, expected)) throw otherKey(label);
}

const otherKey = (label: string): TokenError =>
  new TokenError(`the key ${label} of the backup is not the one that the backup says`, 'BKV_BACKUP');

const ours = (binding: Binding, template: pkcs11.Template) =>
  binding
    .findLabelled([{ type: pkcs11.CKA_TOKEN, value: true }, ...template])
    .filter(({ label }) => label.startsWith('bkv.'));

const SECRET_HALF: pkcs11.Template = [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
  { type: pkcs11.CKA_PRIVATE, value: true },
];

function backupKeyOf(binding: Binding): pkcs11.Handle {
  const found = ours(binding, SECRET_HALF).filter(({ label }) => label === BACKUP_LABEL);
  if (!found[0] || found[1])
    throw new TokenError(`the token holds ${found.length} keys named ${BACKUP_LABEL}`, 'BKV_KEY');
  return found[0].handle;
}

/** Whether a restore has finished in the token, or it is a vault's own token. */
const isRestored = (binding: Binding): boolean => {
  const labels = ours(binding, SECRET_HALF).map(({ label }) => label);
  return labels.includes(KEY_LABELS.static) && !labels.includes(BACKUP_LABEL);
};

const keysOf = (binding: Binding): Keys =>
  new Map(
    [pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_SECRET_KEY].flatMap((objectClass) =>
      ours(binding, [
        { type: pkcs11.CKA_CLASS, value: objectClass },
        { type: pkcs11.CKA_PRIVATE, value: true },
      ]).map(({ handle, label }) => [label, handle] as const),
    ),
  );

/** Takes away what a restore has put into the token. */
function clear(binding: Binding): void {
  for (const { handle, label } of ours(binding, [])) if (label !== BACKUP_LABEL) binding.destroy(handle);
}

function write({ p11, session }: Binding, { label, value }: RestoredObject): void {
  p11.C_CreateObject(session, [...dataObject(label), { type: pkcs11.CKA_VALUE, value: Buffer.from(value) }]);
}
