import { createECDH, randomBytes } from 'node:crypto';
import { p256 } from '@noble/curves/nist.js';
import pkcs11 from 'pkcs11js';
import type { Binding } from '../binding.js';
import { makeKey } from '../keys.js';
import { KEY_LABELS } from '../labels.js';
import type { Session } from '../session.js';
import { wrapScalar } from '../wrapping.js';
import type { Findings } from './findings.js';
import { PREFIX } from './throw-away.js';

/** The kinds of the vault's keys; one of each kind is made. */
const KINDS = {
  static: 'key agreement key (CKM_EC_KEY_PAIR_GEN, P-256)',
  wrap: 'wrapping key (CKM_AES_KEY_GEN)',
  ledger: 'MAC key (CKM_GENERIC_SECRET_KEY_GEN)',
} as const;
type Kind = keyof typeof KINDS;

const MECHANISMS = {
  CKM_EC_KEY_PAIR_GEN: pkcs11.CKM_EC_KEY_PAIR_GEN,
  CKM_ECDH1_DERIVE: pkcs11.CKM_ECDH1_DERIVE,
  CKM_AES_KEY_GEN: pkcs11.CKM_AES_KEY_GEN,
  CKM_GENERIC_SECRET_KEY_GEN: pkcs11.CKM_GENERIC_SECRET_KEY_GEN,
  CKM_SHA256_HMAC: pkcs11.CKM_SHA256_HMAC,
} as const;

/** Names mechanisms that the module does not list, and what to change in the profile. */
export function lookAtMechanisms({ p11, slot, keyWrap }: Binding, findings: Findings): void {
  const listed = new Set(p11.C_GetMechanismList(slot));
  for (const [name, mechanism] of Object.entries(MECHANISMS))
    if (!listed.has(mechanism)) findings.add(name, 'missing', "it is not among the token's mechanisms");
  if (listed.has(keyWrap.mechanism)) return;
  const own = [...listed].filter((one) => one >= pkcs11.CKM_VENDOR_DEFINED);
  findings.add(
    'key wrapping by RFC 5649',
    'missing',
    `the token lists neither CKM_AES_KEY_WRAP_KWP nor CKM_AES_KEY_WRAP_PAD. If its vendor has a mechanism for RFC 5649, name it in the profile as "keyWrap: 0x…"; of the vendor's own it lists ${own.map((one) => `0x${one.toString(16)}`).join(', ') || 'none'}`,
  );
}

/** Makes a key of each kind. @returns those that could be made */
export function makeKeys(binding: Binding, findings: Findings): ReadonlySet<Kind> {
  const made = new Set<Kind>();
  for (const [kind, what] of Object.entries(KINDS) as [Kind, string][])
    findings.attempt(
      what,
      () => {
        const lacks = makeKey(binding, KEY_LABELS[kind], PREFIX + kind);
        made.add(kind);
        return lacks;
      },
      1,
      (lacks) => (lacks.length > 0 ? `the module does not take ${lacks.join(', ')}` : ''),
    );
  return made;
}

/** Does with keys what the vault does. */
export function tryOperations(session: Session, made: ReadonlySet<Kind>, findings: Findings): void {
  const scalar = randomBytes(32);
  scalar[0] = 1;
  const number = BigInt(`0x${scalar.toString('hex')}`);
  const element = p256.Point.BASE.multiply(BigInt(`0x${randomBytes(16).toString('hex')}`));
  const expected = element.multiply(number).toBytes(true);
  const compressed = element.toBytes(true);
  const same = (actual: Uint8Array) => {
    if (!Buffer.from(actual).equals(expected)) throw new Error('the result is wrong');
  };
  if (made.has('static'))
    findings.attempt(
      'evaluation with a key of the token (2 × CKM_ECDH1_DERIVE)',
      () => session.multiply({ label: `${PREFIX}static` }, compressed),
      20,
    );
  if (made.has('ledger'))
    findings.attempt('CKM_SHA256_HMAC', () => session.hmac(`${PREFIX}ledger`, Buffer.from('doctor')), 20);
  findings.attempt('key of a page (CKM_GENERIC_SECRET_KEY_GEN)', () => {
    session.learn(`${PREFIX}page`, session.generatePageKey(`${PREFIX}page`));
    session.hmac(`${PREFIX}page`, Buffer.from('doctor'));
    session.destroyPageKey(`${PREFIX}page`);
  });
  const key =
    made.has('wrap') &&
    findings.attempt('make and wrap an OPRF key (RFC 5649)', () => session.generateWrapped(), 10);
  if (key) findings.attempt('evaluation with a wrapped key', () => session.multiply(key, compressed), 20);
  findings.attempt('evaluation is byte-exact (a known scalar, unwrapped)', () =>
    same(session.multiply({ scalar }, compressed)),
  );
  if (key)
    findings.attempt('take in a share (CKM_ECDH1_DERIVE to AES, RFC 5649)', () => {
      const client = createECDH('prime256v1');
      const keyshare = client.generateKeys();
      const publicKey = p256.Point.BASE.multiply(number).toBytes(false);
      const wrapped = wrapScalar(scalar, client.computeSecret(key.publicKey));
      const taken = session.importShare(key, { keyshare, wrapped, publicKey });
      same(session.multiply({ wrapped: taken, publicKey }, compressed));
    });
}
