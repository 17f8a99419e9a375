import pkcs11 from 'pkcs11js';
import type { Binding } from '../binding.js';
import type { SessionKeys } from '../keyring.js';
import { KEY_LABELS } from '../labels.js';

/** Prefix of the labels of all keys and objects that a doctor makes and throws away. */
export const PREFIX = 'bkv.doctor.';

const CLASSES = [pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_SECRET_KEY, pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_DATA];

const made = (binding: Binding) =>
  CLASSES.flatMap((objectClass) =>
    binding
      .findLabelled([
        { type: pkcs11.CKA_CLASS, value: objectClass },
        { type: pkcs11.CKA_TOKEN, value: true },
      ])
      .map((found) => ({ ...found, objectClass })),
  ).filter(({ label }) => label.startsWith(PREFIX));

/**
 * The keys that were made, for a session to use; one of them serves as `bkv.wrap`. They belong to no vault,
 * so they are not inspected.
 */
export function throwAwayKeys(binding: Binding): SessionKeys {
  const keys = made(binding);
  const publicKeys = keys.filter(({ objectClass }) => objectClass === pkcs11.CKO_PUBLIC_KEY);
  const secrets = new Map(
    keys.filter((key) => !publicKeys.includes(key)).map(({ label, handle }) => [label, handle]),
  );
  const wrap = secrets.get(`${PREFIX}wrap`);
  if (wrap) secrets.set(KEY_LABELS.wrap, wrap);
  return {
    keys: secrets,
    points: new Map(publicKeys.map(({ label, handle }) => [label, binding.pointOf(handle)])),
    backupKey: undefined,
    pageKeyRules: { restored: false, hardened: new Set() },
  };
}

/** Destroys all of them. */
export function throwAway(binding: Binding): void {
  for (const { handle } of made(binding)) binding.destroy(handle);
}
