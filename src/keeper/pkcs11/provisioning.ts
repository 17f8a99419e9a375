import pkcs11 from 'pkcs11js';
import type { Binding } from './binding.js';
import { findCanary, makeCanary } from './canary.js';
import { TokenError } from './errors.js';
import { faultOf } from './faults.js';
import { refuseFirstEdition } from './first-edition.js';
import { makeKey, templateOf } from './keys.js';
import { KEY_LABELS } from './labels.js';
import { APPLICATION } from './objects.js';
import { generateWrapped } from './wrapping.js';

/** What {@link provision} did. */
export interface Provisioned {
  /** labels of the keys that were made */
  readonly made: readonly string[];
  /** attributes that the module did not accept, by the keys that lack them */
  readonly lacks: ReadonlyMap<string, readonly string[]>;
}

/**
 * Makes the long-lived keys that a token lacks, and its canary. A repeated call changes nothing. @param
 * backedUp whether the keys may leave the token under a trusted key @throws TokenError when the token was in
 * use but lacks a key, because a new key would end every account; when version 0.1 made the token
 */
export function provision(binding: Binding, backedUp: boolean): Provisioned {
  refuseFirstEdition(secretLabels(binding));
  const keys = longLivedKeys(binding, backedUp);
  const labels = Object.values(KEY_LABELS);
  const missing = labels.filter((label) => !keys.has(label));
  if (missing.length > 0 && isInUse(binding))
    throw new TokenError(
      `the token was in use already but lacks ${missing.join(', ')}; put its backup back`,
      'BKV_KEY',
    );
  const lacks = new Map<string, readonly string[]>();
  for (const label of missing) {
    // Half of a pair, left behind by a start that was cut off.
    for (const half of keysNamed(binding, label)) binding.destroy(half);
    const lacking = makeKey(binding, label, label, backedUp);
    if (lacking.length > 0) lacks.set(label, lacking);
  }
  watchKeys(binding, missing.length > 0 ? longLivedKeys(binding, backedUp) : keys);
  return { made: missing, lacks };
}

/**
 * Gives the token a canary, unless it has one. If a key is there twice it makes no canary, and then no
 * session opens.
 */
function watchKeys(binding: Binding, keys: ReadonlyMap<string, pkcs11.Handle>): void {
  const [wrappingKey, ledgerKey] = [keys.get(KEY_LABELS.wrap), keys.get(KEY_LABELS.ledger)];
  if (!wrappingKey || !ledgerKey || findCanary(binding, ledgerKey, () => undefined)) return;
  makeCanary(binding, keys, generateWrapped(binding, wrappingKey));
}

const isInUse = (binding: Binding): boolean =>
  binding.find([
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_DATA },
    { type: pkcs11.CKA_APPLICATION, value: APPLICATION },
  ]).length > 0;

const secretLabels = (binding: Binding): string[] =>
  binding
    .findLabelled([
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_PRIVATE, value: true },
    ])
    .map(({ label }) => label);

/**
 * The long-lived keys by label. A key whose making was cut off counts as missing: it may have a value but
 * lack attributes.
 */
function longLivedKeys(binding: Binding, backedUp: boolean): Map<string, pkcs11.Handle> {
  const keys = new Map<string, pkcs11.Handle>();
  const inUse = isInUse(binding);
  for (const label of Object.values(KEY_LABELS))
    for (const handle of keysNamed(binding, label, true))
      if (inUse || faultOf(binding, handle, templateOf(label, { backedUp }))?.type !== pkcs11.CKA_LOCAL)
        keys.set(label, handle);
  return keys;
}

function keysNamed(binding: Binding, label: string, secret = false): pkcs11.Handle[] {
  const { CKO_PRIVATE_KEY, CKO_SECRET_KEY, CKO_PUBLIC_KEY } = pkcs11;
  return [CKO_PRIVATE_KEY, CKO_SECRET_KEY, ...(secret ? [] : [CKO_PUBLIC_KEY])].flatMap((objectClass) =>
    binding.find([
      { type: pkcs11.CKA_CLASS, value: objectClass },
      { type: pkcs11.CKA_TOKEN, value: true },
      ...(secret ? [{ type: pkcs11.CKA_PRIVATE, value: true }] : []),
      { type: pkcs11.CKA_LABEL, value: label },
    ]),
  );
}
