import pkcs11 from 'pkcs11js';
import { type Hardening, ulongs } from './attributes.js';
import type { Binding } from './binding.js';

interface Vouching {
  /** it came out of a backup: the token cannot know where it was before, so the ceremony vouches for it */
  readonly restored?: boolean;
  /** what it must have besides its template */
  readonly hardenings?: readonly Hardening[];
}

const NAMES = new Map(
  Object.entries(pkcs11)
    .filter(([name]) => name.startsWith('CKA_'))
    .map(([name, type]) => [type as number, name]),
);
/** Some modules do not say what else a key may be used for. What it really does is tried. */
const USES: ReadonlySet<number> = new Set([
  pkcs11.CKA_ENCRYPT,
  pkcs11.CKA_DECRYPT,
  pkcs11.CKA_SIGN,
  pkcs11.CKA_VERIFY,
  pkcs11.CKA_WRAP,
  pkcs11.CKA_UNWRAP,
  pkcs11.CKA_DERIVE,
]);

/** What an attribute must be, for people. @param key names the key */
export const mustBe = (key: string, { type, value }: pkcs11.Template[number]): string =>
  `${NAMES.get(type)} of ${key} must be ${typeof value === 'boolean' ? value : 'as the vault makes it'}`;

/**
 * The attribute in which a key of the token differs from what the vault makes by a template, with the value
 * that it should have; `undefined` if there is none.
 */
export function faultOf(
  binding: Binding,
  key: pkcs11.Handle,
  template: pkcs11.Template,
  { restored = false, hardenings = [] }: Vouching = {},
): pkcs11.Template[number] | undefined {
  const backedUp = template.some(({ type }) => type === pkcs11.CKA_WRAP_WITH_TRUSTED);
  const vouched: [number, boolean][] = [
    [pkcs11.CKA_ALWAYS_SENSITIVE, !restored],
    [pkcs11.CKA_NEVER_EXTRACTABLE, !restored && !backedUp],
    [pkcs11.CKA_LOCAL, !restored],
  ];
  const expected: pkcs11.Template = [
    ...template,
    ...vouched.filter(([, asked]) => asked).map(([type]) => ({ type, value: true })),
    ...readable(hardenings).map((one) => ({ type: one.type, value: one.value() })),
  ];
  const actual = read(
    binding,
    key,
    expected.map(({ type }) => type),
  );
  return expected.find(({ type, value }) => {
    const is = actual.get(type);
    return is === undefined ? !USES.has(type) : !encoded(value).equals(is);
  });
}

/**
 * The hardenings that can be read from a key. Attributes that are templates are not read, because the module
 * fills in the memory that the template points to. openCryptoki writes to wherever an empty buffer points,
 * and the process crashes. So what such a template forbids is tried instead.
 */
export const readable = (hardenings: readonly Hardening[]): Hardening[] =>
  hardenings.filter(({ type }) => type !== pkcs11.CKA_UNWRAP_TEMPLATE);

/** Which of the {@link readable} hardenings a key has. */
export const hardeningsHeld = (
  binding: Binding,
  key: pkcs11.Handle,
  hardenings: readonly Hardening[],
): Hardening[] => {
  const asked = readable(hardenings);
  const actual = read(
    binding,
    key,
    asked.map(({ type }) => type),
  );
  return asked.filter((one) => {
    const is = actual.get(one.type);
    return is !== undefined && encoded(one.value()).equals(is);
  });
};

function encoded(value: pkcs11.Template[number]['value']): Buffer {
  if (typeof value === 'boolean') return Buffer.of(value ? 1 : 0);
  if (typeof value === 'number') return ulongs(value);
  return Buffer.from(value as string | Buffer);
}

/** Attributes by type: read all at once, or one by one if the module does not know them all. */
function read(binding: Binding, key: pkcs11.Handle, types: readonly number[]): Map<number, Buffer> {
  const { p11, session } = binding;
  const ask = (some: readonly number[]) =>
    p11
      .C_GetAttributeValue(
        session,
        key,
        some.map((type) => ({ type })),
      )
      .map(({ type, value }): [number, Buffer] => [type, value as Buffer]);
  try {
    return new Map(ask(types));
  } catch {
    return new Map(
      types.flatMap((type) => {
        try {
          return ask([type]);
        } catch {
          return [];
        }
      }),
    );
  }
}
