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

/**
 * Attributes that make the key safer, if the module accepts them. @param keyWrap the module's mechanism for
 * RFC 5649
 */
export const hardeningsOf = (kind: KeyLabel, keyWrap: number): readonly Hardening[] =>
  kind === KEY_LABELS.wrap ? wrapKeyHardenings(keyWrap) : FIXED;

/**
 * Makes a key in the token, of the kind that the vault has for one of {@link KEY_LABELS}.
 * @param backedUp whether it may leave the token under a key that the security officer trusts; otherwise it
 * never does @returns the attributes that the module did not accept
 */
export function makeKey(binding: Binding, kind: KeyLabel, label: string, backedUp = false): string[] {
  const make = (template: pkcs11.Template): unknown => generate(binding, kind, label, template);
  return harden(templateOf(kind, { backedUp }, label), hardeningsOf(kind, binding.keyWrap.mechanism), make)
    .lacks;
}

const GENERIC = pkcs11.CKM_GENERIC_SECRET_KEY_GEN;
const GENERATED_BY: Partial<Record<KeyLabel, number>> = { [KEY_LABELS.wrap]: pkcs11.CKM_AES_KEY_GEN };

/** Has the token make a key of a kind; a secret key has 32 bytes. @returns the private or secret half */
export function generate(
  { p11, session }: Binding,
  kind: KeyLabel,
  label: string,
  template: pkcs11.Template,
): pkcs11.Handle {
  if (kind === KEY_LABELS.static)
    return p11.C_GenerateKeyPair(
      session,
      { mechanism: pkcs11.CKM_EC_KEY_PAIR_GEN },
      staticPublicKey(label),
      template,
    ).privateKey;
  const length = { type: pkcs11.CKA_VALUE_LEN, value: 32 };
  // This comes before all others, because what makes a key unchangeable must come last.
  return p11.C_GenerateKey(session, { mechanism: GENERATED_BY[kind] ?? GENERIC }, [length, ...template]);
}
