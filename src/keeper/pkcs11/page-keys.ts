import pkcs11 from 'pkcs11js';
import type { Binding } from './binding.js';
import { faultOf, mustBe } from './faults.js';
import { FIXED, hmacKey } from './templates.js';

/** A page's key, or several keys of one label. */
export interface PageKey {
  readonly label: string;
  readonly handles: readonly string[];
  /** why it must not be used: a crash while it was made, or somebody who altered or copied it */
  readonly fault?: string;
}

export interface PageKeyRules {
  /** whether the token's keys came out of a backup */
  readonly restored: boolean;
  /** attributes that every key of the token has */
  readonly hardened: ReadonlySet<number>;
}

/** The keys of pages in the token now: those whose labels start with `prefix`. */
export function listPageKeys(binding: Binding, rules: PageKeyRules, prefix: string): PageKey[] {
  const found = new Map<string, pkcs11.Handle[]>();
  for (const { handle, label } of binding.findLabelled(SECRET)) {
    if (label.startsWith(prefix)) found.set(label, [...(found.get(label) ?? []), handle]);
  }
  return [...found].map(([label, handles]) => pageKey(binding, rules, label, handles));
}

/** The key of this label; `undefined` when the token has none now. */
export function findPageKey(binding: Binding, rules: PageKeyRules, label: string): PageKey | undefined {
  const handles = binding.find([...SECRET, { type: pkcs11.CKA_LABEL, value: label }]);
  return handles.length === 0 ? undefined : pageKey(binding, rules, label, handles);
}

const SECRET: pkcs11.Template = [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
  { type: pkcs11.CKA_TOKEN, value: true },
  { type: pkcs11.CKA_PRIVATE, value: true },
];

function pageKey(
  binding: Binding,
  rules: PageKeyRules,
  label: string,
  handles: readonly pkcs11.Handle[],
): PageKey {
  const fault = faultOfPageKey(binding, label, handles, rules);
  const key = { label, handles: handles.map((handle) => handle.toString('hex')) };
  return fault === undefined ? key : { ...key, fault };
}

function faultOfPageKey(
  binding: Binding,
  label: string,
  handles: readonly pkcs11.Handle[],
  { restored, hardened }: PageKeyRules,
): string | undefined {
  if (handles.length > 1) return `there are ${handles.length} of its name`;
  const key = handles[0] as pkcs11.Handle;
  const backedUp = binding.isTrue(key, pkcs11.CKA_EXTRACTABLE);
  const hardenings = FIXED.filter(({ type }) => hardened.has(type));
  const wrong = faultOf(binding, key, hmacKey(label, { backedUp }), { restored, hardenings });
  return wrong && mustBe('this key', wrong);
}
