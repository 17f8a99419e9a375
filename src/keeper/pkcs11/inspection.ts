import pkcs11 from 'pkcs11js';
import { waysToUnwrap } from './attacks/index.js';
import type { Binding, Labelled } from './binding.js';
import { type Canary, findCanary, isPair } from './canary.js';
import { TokenError } from './errors.js';
import { faultOf, hardeningsHeld, mustBe, readable } from './faults.js';
import { refuseFirstEdition } from './first-edition.js';
import type { SessionKeys } from './keyring.js';
import { hardeningsOf, templateOf } from './keys.js';
import { BACKUP_LABEL, KEY_LABELS, type KeyLabel, PAGE_KEY_PREFIX } from './labels.js';
import { listPageKeys } from './page-keys.js';
import { generateWrapped, unwrapAccountKey, type WrappedKey } from './wrapping.js';

/** What a session works with, and what else was seen. */
export interface Inspected extends SessionKeys {
  /** ways in which whoever has the PIN can take keys away through the module */
  readonly exposures: readonly string[];
  /** the labels of objects that others put there; they are skipped */
  readonly strange: readonly string[];
}

const { CKO_DATA, CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_SECRET_KEY } = pkcs11;

/**
 * Looks at every key of the token, tries what an insider would do to an account's key, and finds the keys
 * that a session may use. The session uses no other key.
 * @param restored whether they came out of a backup
 * @throws TokenError naming a key that is missing, there twice, made by others, altered, or replaced
 */
export function inspect(binding: Binding, restored: boolean): Inspected {
  const found = privateKeys(binding);
  refuseBackupToken(found);
  refuseFirstEdition(found.map(({ label }) => label));
  const strange = publicTwins(binding);
  const long = new Map(
    Object.values(KEY_LABELS).map((label) => [label, longLivedKey(binding, found, label, restored)]),
  );
  const handleOf = (label: KeyLabel) => long.get(label) as pkcs11.Handle;
  const canary = findCanary(binding, handleOf(KEY_LABELS.ledger), (label) => strange.push(label));
  const exposures = [
    ...(canary ? [] : ['the token has no canary, since an older version made its keys: run bkv token init']),
    ...softKeys(binding, long, canary),
    ...(canary ? ways(binding, handleOf(KEY_LABELS.wrap), canary) : []),
  ];
  const backedUp = [...long.values()].some((key) => binding.isTrue(key, pkcs11.CKA_EXTRACTABLE));
  const backupKey = trustedKey(binding, backedUp);
  const point = publicHalf(binding, handleOf(KEY_LABELS.static), KEY_LABELS.static, (label) =>
    strange.push(label),
  );
  const pageKeyRules = { restored, hardened: canary?.hardened ?? new Set<number>() };
  const pages = listPageKeys(binding, pageKeyRules, PAGE_KEY_PREFIX)
    .filter(({ fault }) => fault === undefined)
    .map(({ label, handles }) => [label, Buffer.from(handles[0] as string, 'hex')] as const);
  return {
    keys: new Map<string, pkcs11.Handle>([...long, ...pages]),
    points: new Map([[KEY_LABELS.static, point]]),
    backupKey,
    pageKeyRules,
    exposures,
    strange,
  };
}

function privateKeys(binding: Binding): Labelled[] {
  return [CKO_PRIVATE_KEY, CKO_SECRET_KEY].flatMap((objectClass) => named(binding, objectClass, true));
}

/**
 * The labels of secret keys and data objects that have a name like the vault's, but can be made without a
 * PIN.
 */
const publicTwins = (binding: Binding): string[] =>
  [CKO_PRIVATE_KEY, CKO_SECRET_KEY, CKO_DATA].flatMap((objectClass) =>
    named(binding, objectClass, false).map(({ label }) => label),
  );

const named = (binding: Binding, objectClass: number, isPrivate: boolean): Labelled[] =>
  binding
    .findLabelled([
      { type: pkcs11.CKA_CLASS, value: objectClass },
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_PRIVATE, value: isPrivate },
    ])
    .filter(({ label }) => label.startsWith('bkv.'));

function refuseBackupToken(found: readonly Labelled[]): void {
  if (found.some(({ label }) => label === BACKUP_LABEL))
    throw new TokenError(
      `this is a backup token, or one whose restore was cut off: it holds the secret half of ${BACKUP_LABEL}. Run: bkv token restore`,
      'BKV_UNSAFE_KEY',
    );
}

/** @throws TokenError unless there is exactly one key of that label, as the vault makes it */
function longLivedKey(
  binding: Binding,
  found: readonly Labelled[],
  label: KeyLabel,
  restored: boolean,
): pkcs11.Handle {
  const same = found.filter((key) => key.label === label);
  const [key] = same;
  if (!key)
    throw new TokenError(
      `the token holds 0 keys named ${label}; it must hold one. Run: bkv token init`,
      'BKV_KEY',
    );
  if (same.length > 1)
    throw new TokenError(
      `the token holds ${same.length} keys named ${label}; it must hold one: somebody who has the PIN made or copied the others`,
      'BKV_UNSAFE_KEY',
    );
  const backedUp = binding.isTrue(key.handle, pkcs11.CKA_EXTRACTABLE);
  const fault = faultOf(binding, key.handle, templateOf(label, { backedUp }), { restored });
  if (fault) throw altered(label, fault);
  return key.handle;
}

const altered = (label: string, wrong: pkcs11.Template[number]): TokenError =>
  new TokenError(
    `${mustBe(`the key ${label}`, wrong)}: the key was altered, was not made in the token, or can leave it`,
    'BKV_UNSAFE_KEY',
  );

/**
 * The hardenings that a key lacks, and has lacked from the beginning. @throws TokenError when the key once
 * had them: then it is not the key that was made
 */
function softKeys(
  binding: Binding,
  keys: ReadonlyMap<KeyLabel, pkcs11.Handle>,
  canary: Canary | undefined,
): string[] {
  const soft: string[] = [];
  for (const [label, key] of keys) {
    const all = readable(hardeningsOf(label, binding.keyWrap.mechanism));
    const held = hardeningsHeld(binding, key, all);
    const lacking = all.filter((one) => !held.includes(one));
    const lost = lacking.find(({ type }) => canary?.hardened.has(type));
    if (lost) throw altered(label, { type: lost.type, value: lost.value() });
    if (lacking.length > 0)
      soft.push(`${label} was made without ${lacking.map(({ name }) => name).join(', ')}`);
  }
  return soft;
}

/**
 * @throws TokenError when `bkv.wrap` is not the key that wrapped the canary, or when it once refused what it
 * allows now
 */
function ways(binding: Binding, wrappingKey: pkcs11.Handle, canary: Canary): string[] {
  if (!isCanarysKey(binding, wrappingKey, canary))
    throw new TokenError(
      `the key ${KEY_LABELS.wrap} is not the one that this token had: somebody who has the PIN replaced it`,
      'BKV_UNSAFE_KEY',
    );
  const passed = waysToUnwrap(binding, wrappingKey, canary);
  if (passed[0] && canary.hardened.has(pkcs11.CKA_UNWRAP_TEMPLATE))
    throw altered(KEY_LABELS.wrap, { type: pkcs11.CKA_UNWRAP_TEMPLATE });
  return passed;
}

function isCanarysKey(binding: Binding, wrappingKey: pkcs11.Handle, canary: Canary): boolean {
  const isUnder = ({ wrapped, publicKey }: WrappedKey) => {
    const { made } = unwrapAccountKey(binding, wrappingKey, wrapped);
    return binding.using(made, (key) => isPair(binding, key, publicKey));
  };
  try {
    return isUnder(canary);
  } catch {
    // Error codes differ between modules. A device that fails also fails with a pair that was made just now.
    isUnder(generateWrapped(binding, wrappingKey));
    return false;
  }
}

/**
 * The only key under which other keys may leave the token. Only the security officer can mark a key as
 * trusted, and a key with CKA_WRAP_WITH_TRUSTED leaves only under such keys.
 * @throws TokenError when keys may leave the token, and it trusts a different key, or a second one
 */
function trustedKey(binding: Binding, backedUp: boolean): pkcs11.Handle | undefined {
  const trusted = [CKO_PUBLIC_KEY, CKO_SECRET_KEY].flatMap((objectClass) =>
    binding.findLabelled([
      { type: pkcs11.CKA_CLASS, value: objectClass },
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_TRUSTED, value: true },
    ]),
  );
  const other = trusted.find(({ label }) => label !== BACKUP_LABEL);
  if (backedUp && (other || trusted.length > 1))
    throw new TokenError(
      `the token trusts ${other?.label || 'a second key'} to wrap its keys: only ${BACKUP_LABEL} may be trusted, once`,
      'BKV_UNSAFE_KEY',
    );
  return trusted.find(({ label }) => label === BACKUP_LABEL)?.handle;
}

/**
 * The public half of a pair. Anybody can make a public key of that name, so this finds the one that matches
 * the private half.
 * @throws TokenError when there is none
 */
function publicHalf(
  binding: Binding,
  secret: pkcs11.Handle,
  label: string,
  strange: (label: string) => void,
): Uint8Array {
  const points = binding
    .find([
      { type: pkcs11.CKA_CLASS, value: CKO_PUBLIC_KEY },
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_LABEL, value: label },
    ])
    .map((handle) => binding.pointOf(handle));
  const own = points.find((point) => isPair(binding, secret, point));
  if (!own)
    throw new TokenError(
      `none of the ${points.length} public keys named ${label} is that of the token's pair; put its backup back`,
      'BKV_KEY',
    );
  if (points.some((point) => !Buffer.from(point).equals(own))) strange(`${label} (public key)`);
  return own;
}
