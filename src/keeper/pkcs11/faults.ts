import pkcs11 from 'pkcs11js';
import { type Hardening, ulongs } from './attributes.js';
import type { Binding } from './binding.js';

interface Vouching {
  /** it came out of a backup: where it was before the token cannot know, and the ceremony vouches for it */
  readonly restored?: boolean;
  /** what it must have beside its template */
  readonly hardenings?: readonly Hardening[];
}

const NAMES = new Map(
  Object.entries(pkcs11)
    .filter(([name]) => name.startsWith('CKA_'))
    .map(([name, type]) => [type as number, name]),
);
/** Some modules do not tell what else a key may be used for; what it really does is tried. */
const USES: ReadonlySet<number> = new Set([
  pkcs11.CKA_ENCRYPT,
  pkcs11.CKA_DECRYPT,
  pkcs11.CKA_SIGN,
  pkcs11.CKA_VERIFY,
  pkcs11.CKA_WRAP,
  pkcs11.CKA_UNWRAP,
  pkcs11.CKA_DERIVE,
]);

/** How a key of the token differs from what the vault makes by a template; `undefined` if it does not. */
export function faultOf(
  binding: Binding,
  key: pkcs11.Handle,
  template: pkcs11.Template,
  { restored = false, hardenings = [] }: Vouching = {},
): string | undefined {
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
  const wrong = expected.find(({ type, value }) => {
    const is = actual.get(type);
    return is === undefined ? !USES.has(type) : !encoded(value).equals(is);
  });
  return wrong && `${NAMES.get(wrong.type)}${typeof wrong.value === 'boolean' ? `=${wrong.value}` : ''}`;
}

/**
 * The hardenings that a key tells of. What an array of attributes points to is filled in by the module that is asked for it:
 * openCryptoki writes to wherever the bytes of an empty buffer point, and the process crashes. It is tried instead.
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

/** Attributes by their types: all at once, or one by one from a module that does not know them all. */
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
