import pkcs11 from 'pkcs11js';
import type { Binding } from '../binding.js';
import { accountKey, FIXED } from '../templates.js';
import type { WrappedKey } from '../wrapping.js';
import { isCarriedAway, succeeds, withOwnKey } from './leak.js';

/** What an insider does to an account's key with the key that wraps it. It leaves the token unchanged. */
export interface UnwrapAttack {
  /** "an account's key is unwrapped ..." */
  readonly name: string;
  /** it puts an object into the token, so it is not tried at each start */
  readonly writes?: true;
  succeeds(binding: Binding, wrappingKey: pkcs11.Handle, pair: WrappedKey): boolean;
}

type Changes = pkcs11.Template;
const whole: pkcs11.Template = [...accountKey, ...FIXED.map(({ type }) => ({ type, value: false }))];

/**
 * Templates with these attributes changed. The first is based on the vault's own; the last has only the
 * attributes that a module must be given.
 */
function* templates(changes: Changes): Generator<pkcs11.Template> {
  const changed = new Set(changes.map(({ type }) => type));
  const rest = (all: pkcs11.Template) => all.filter(({ type }) => !changed.has(type));
  yield [...rest(whole), ...changes];
  yield [...rest(accountKey), ...changes];
  yield [...rest(accountKey.filter(({ type }) => MUST.has(type))), ...changes];
  // Some modules refuse to be told what they do anyhow.
  yield rest(accountKey.filter(({ type }) => MUST.has(type)));
}
const MUST: ReadonlySet<number> = new Set([pkcs11.CKA_CLASS, pkcs11.CKA_KEY_TYPE, pkcs11.CKA_TOKEN]);

/** Whether the key can be unwrapped in this way, and whether `gain` gets something out of the result. */
function unwraps(
  binding: Binding,
  wrappingKey: pkcs11.Handle,
  wrapped: Uint8Array,
  changes: Changes,
  gain: (handle: pkcs11.Handle) => boolean,
): boolean {
  const { p11, session, keyWrap } = binding;
  return [...templates(changes)].some((template) =>
    succeeds(() =>
      binding.using(p11.C_UnwrapKey(session, keyWrap, wrappingKey, Buffer.from(wrapped), template), gain),
    ),
  );
}

const inTheOpen: UnwrapAttack = {
  name: 'in the open (CKA_SENSITIVE=false, CKA_EXTRACTABLE=true)',
  succeeds: (binding, wrappingKey, { wrapped, publicKey }) =>
    unwraps(
      binding,
      wrappingKey,
      wrapped,
      [
        { type: pkcs11.CKA_SENSITIVE, value: false },
        { type: pkcs11.CKA_EXTRACTABLE, value: true },
      ],
      (handle) => isCarriedAway(binding, handle, publicKey),
    ),
};

const toBeWrappedAgain: UnwrapAttack = {
  name: 'to leave under a key of the insider (CKA_EXTRACTABLE=true)',
  succeeds: (binding, wrappingKey, { wrapped, publicKey }) =>
    unwraps(binding, wrappingKey, wrapped, [{ type: pkcs11.CKA_EXTRACTABLE, value: true }], (handle) =>
      isCarriedAway(binding, handle, publicKey),
    ),
};

/** HMAC and CONCATENATE carve a secret out byte by byte, even if it is marked sensitive. */
const asAnotherKey: UnwrapAttack = {
  name: 'as another kind of key (CKK_GENERIC_SECRET, CKK_AES)',
  succeeds: (binding, wrappingKey, { wrapped }) =>
    [pkcs11.CKK_GENERIC_SECRET, pkcs11.CKK_AES].some((keyType) =>
      unwraps(
        binding,
        wrappingKey,
        wrapped,
        [
          { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
          { type: pkcs11.CKA_KEY_TYPE, value: keyType },
        ],
        () => true,
      ),
    ),
};

const intoTheToken: UnwrapAttack = {
  name: 'into the token, where it outlives its account (CKA_TOKEN=true)',
  writes: true,
  succeeds: (binding, wrappingKey, { wrapped }) =>
    unwraps(binding, wrappingKey, wrapped, [{ type: pkcs11.CKA_TOKEN, value: true }], (handle) =>
      succeeds(() => binding.isTrue(handle, pkcs11.CKA_TOKEN)),
    ),
};

const toBeCopied: UnwrapAttack = {
  name: 'and copied into the token (CKA_COPYABLE=true)',
  writes: true,
  succeeds: (binding, wrappingKey, { wrapped }) =>
    unwraps(binding, wrappingKey, wrapped, [], (handle) =>
      succeeds(() =>
        binding.destroy(
          binding.p11.C_CopyObject(binding.session, handle, [{ type: pkcs11.CKA_TOKEN, value: true }]),
        ),
      ),
    ),
};

const toSign: UnwrapAttack = {
  name: 'for another use (CKA_SIGN=true)',
  succeeds: (binding, wrappingKey, { wrapped }) =>
    unwraps(binding, wrappingKey, wrapped, [{ type: pkcs11.CKA_SIGN, value: true }], (handle) =>
      succeeds(() => {
        const { p11, session } = binding;
        p11.C_SignInit(session, { mechanism: pkcs11.CKM_ECDSA }, handle);
        p11.C_Sign(session, Buffer.alloc(32, 1), Buffer.alloc(256));
      }),
    ),
};

/**
 * A mechanism that is not refused at once is a padding oracle: one of 256 random blocks ends in valid
 * padding.
 */
const byAnotherMechanism: UnwrapAttack = {
  name: 'by another mechanism (CKM_AES_CBC_PAD, CKM_AES_CBC, CKM_AES_ECB, CKM_AES_KEY_WRAP)',
  succeeds: (binding, wrappingKey, { wrapped }) =>
    OTHER_MECHANISMS.filter(({ mechanism }) => mechanism !== binding.keyWrap.mechanism).some(
      (mechanism) =>
        decrypts(binding, wrappingKey, mechanism, Buffer.from(wrapped), whole) ||
        succeeds(() => goesAndComes(binding, wrappingKey, mechanism)),
    ),
};

function decrypts(
  { p11, session }: Binding,
  wrappingKey: pkcs11.Handle,
  mechanism: pkcs11.Mechanism,
  wrapped: Buffer,
  template: pkcs11.Template,
): boolean {
  try {
    p11.C_DestroyObject(session, p11.C_UnwrapKey(session, mechanism, wrappingKey, wrapped, template));
    return true;
  } catch (error) {
    return DECRYPTED.has((error as pkcs11.Pkcs11Error).code);
  }
}

/** Whether a key of the insider can be wrapped by the mechanism, and unwrapped again. */
function goesAndComes(binding: Binding, wrappingKey: pkcs11.Handle, mechanism: pkcs11.Mechanism): boolean {
  const wrapped = withOwnKey(binding, (key) =>
    binding.p11.C_WrapKey(binding.session, mechanism, wrappingKey, key, Buffer.alloc(512)),
  );
  return decrypts(binding, wrappingKey, mechanism, wrapped, [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
    { type: pkcs11.CKA_TOKEN, value: false },
  ]);
}

const IV = Buffer.alloc(16);
/** Mechanisms by which AES keys wrap and encrypt, other than the vault's. */
export const OTHER_MECHANISMS: readonly pkcs11.Mechanism[] = [
  { mechanism: pkcs11.CKM_AES_CBC_PAD, parameter: IV },
  { mechanism: pkcs11.CKM_AES_CBC, parameter: IV },
  { mechanism: pkcs11.CKM_AES_ECB },
  { mechanism: pkcs11.CKM_AES_KEY_WRAP },
  { mechanism: pkcs11.CKM_AES_KEY_WRAP_PAD },
];
/** Return values by which a module shows that it used the key, and refused only the result. */
const DECRYPTED: ReadonlySet<number> = new Set([
  pkcs11.CKR_WRAPPED_KEY_INVALID,
  pkcs11.CKR_ENCRYPTED_DATA_INVALID,
  pkcs11.CKR_DATA_INVALID,
]);

/** `bkv doctor` tries each of these. */
export const UNWRAP_ATTACKS: readonly UnwrapAttack[] = [
  inTheOpen,
  toBeWrappedAgain,
  asAnotherKey,
  intoTheToken,
  toBeCopied,
  toSign,
  byAnotherMechanism,
];

/** What an insider could do to an account's key: tried on the token's canary, whenever sessions open. */
export const waysToUnwrap = (binding: Binding, wrappingKey: pkcs11.Handle, pair: WrappedKey): string[] =>
  UNWRAP_ATTACKS.filter(({ writes }) => !writes)
    .filter((attack) => attack.succeeds(binding, wrappingKey, pair))
    .map(({ name }) => `an account's key is unwrapped ${name}`);
