import pkcs11 from 'pkcs11js';
import { Binding } from '../src/keeper/pkcs11/binding.js';
import { CANARY_LABEL } from '../src/keeper/pkcs11/canary.js';
import { KEY_LABELS, type Profile } from '../src/keeper/pkcs11/index.js';
import { generate, templateOf } from '../src/keeper/pkcs11/keys.js';
import type { KeyLabel } from '../src/keeper/pkcs11/labels.js';

/** Makes a key as versions before 2 did: without the attributes that keep an insider from taking it away. */
export const plainKey = (binding: Binding, kind: KeyLabel, label: string = kind): pkcs11.Handle =>
  generate(binding, kind, label, templateOf(kind, { backedUp: false }, label));

/** Every object of the token that has this label. */
export const objectsNamed = (binding: Binding, label: string): pkcs11.Handle[] =>
  binding.find([
    { type: pkcs11.CKA_TOKEN, value: true },
    { type: pkcs11.CKA_LABEL, value: label },
  ]);

export function destroyNamed(binding: Binding, label: string): void {
  for (const handle of objectsNamed(binding, label)) binding.destroy(handle);
}

/**
 * Turns a token into one that a version before 2 made. @param labels those of the keys that are made again in
 * this way
 */
export function makeOld(
  profile: Profile,
  labels: readonly KeyLabel[] = [KEY_LABELS.wrap, KEY_LABELS.ledger, KEY_LABELS.names, KEY_LABELS.static],
): void {
  const binding = new Binding(profile);
  try {
    destroyNamed(binding, CANARY_LABEL);
    for (const label of labels) {
      destroyNamed(binding, label);
      plainKey(binding, label);
    }
  } finally {
    binding.close();
  }
}
