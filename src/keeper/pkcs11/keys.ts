import pkcs11 from 'pkcs11js';
import { type Hardening, harden } from './attributes.js';
import type { Binding } from './binding.js';
import { KEY_LABELS, type KeyLabel } from './labels.js';
import {
  FIXED,
  hmacKey,
  staticKey,
  staticPublicKey,
  type Use,
  wrapKey,
  wrapKeyHardenings,
} from './templates.js';

/** The attributes of the secret half of a long-lived key. @param label of another key of this kind */
export function templateOf(kind: KeyLabel, use: Use, label: string = kind): pkcs11.Template {
  if (kind === KEY_LABELS.static) return staticKey(label, use);
  return kind === KEY_LABELS.wrap ? wrapKey(label, use) : hmacKey(label, use);
}

/** What makes it safer, where the module takes that. @param keyWrap the module's mechanism for RFC 5649 */
export const hardeningsOf = (kind: KeyLabel, keyWrap: number): readonly Hardening[] =>
  kind === KEY_LABELS.wrap ? wrapKeyHardenings(keyWrap) : FIXED;

/**
 * Makes a key in the token, of the kind that the vault has for one of {@link KEY_LABELS}.
 * @param backedUp whether it may leave the token under a key that the security officer trusts; else it never does
 * @returns the attributes that the module did not take
 */
export function makeKey(binding: Binding, kind: KeyLabel, label: string, backedUp = false): string[] {
  const { p11, session, keyWrap } = binding;
  const make = (template: pkcs11.Template): unknown => {
    if (kind === KEY_LABELS.static)
      return p11.C_GenerateKeyPair(
        session,
        { mechanism: pkcs11.CKM_EC_KEY_PAIR_GEN },
        staticPublicKey(label),
        template,
      );
    return p11.C_GenerateKey(session, { mechanism: GENERATED_BY[kind] ?? GENERIC }, template);
  };
  const length = kind === KEY_LABELS.static ? [] : [{ type: pkcs11.CKA_VALUE_LEN, value: 32 }];
  return harden(
    [...templateOf(kind, { backedUp }, label), ...length],
    hardeningsOf(kind, keyWrap.mechanism),
    make,
  ).lacks;
}

const GENERIC = pkcs11.CKM_GENERIC_SECRET_KEY_GEN;
const GENERATED_BY: Partial<Record<KeyLabel, number>> = { [KEY_LABELS.wrap]: pkcs11.CKM_AES_KEY_GEN };
