import { createRequire } from 'node:module';
import { endianness } from 'node:os';
import pkcs11 from 'pkcs11js';
import { TokenError } from './errors.js';

/** Bytes of a CK_ULONG and of a pointer, on every 64-bit Unix. */
const WORD = 8;

function write(to: Buffer, value: number | bigint, at: number): void {
  if (endianness() === 'LE') to.writeBigUInt64LE(BigInt(value), at);
  else to.writeBigUInt64BE(BigInt(value), at);
}

/** CK_ULONGs, as the value of an attribute such as CKA_ALLOWED_MECHANISMS. */
export function ulongs(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(WORD * values.length);
  for (const [i, value] of values.entries()) write(bytes, value, WORD * i);
  return bytes;
}

/**
 * A template as the value of an attribute such as CKA_UNWRAP_TEMPLATE: an array of CK_ATTRIBUTE, which
 * pkcs11js passes on as it is. The values that it points to follow it in the same memory, and live as long as
 * the result does. @param template has booleans and numbers only @throws TokenError when koffi, which gives a
 * buffer's address, has no build for this machine
 */
export function attributeArray(template: pkcs11.Template): Buffer {
  const structs = 3 * WORD * template.length;
  const memory = Buffer.allocUnsafeSlow(structs + WORD * template.length).fill(0);
  const start = addressOf(memory);
  for (const [i, { type, value }] of template.entries()) {
    const valueAt = structs + WORD * i;
    const length = typeof value === 'boolean' ? 1 : WORD;
    if (typeof value === 'boolean') memory[valueAt] = value ? 1 : 0;
    else write(memory, value as number, valueAt);
    write(memory, type, 3 * WORD * i);
    write(memory, start + BigInt(valueAt), 3 * WORD * i + WORD);
    write(memory, length, 3 * WORD * i + 2 * WORD);
  }
  return memory.subarray(0, structs);
}

/** CK_KEY_DERIVATION_STRING_DATA: address and number of the bytes. These must live as long as it is used. */
export function stringData(bytes: Buffer): Buffer {
  const struct = Buffer.alloc(2 * WORD);
  write(struct, addressOf(bytes), 0);
  write(struct, bytes.length, WORD);
  return struct;
}

/** koffi is loaded only when a key is made that needs it: a running vault does not. */
function addressOf(memory: Buffer): bigint {
  let koffi: typeof import('koffi');
  try {
    koffi = createRequire(import.meta.url)('koffi');
  } catch (error) {
    throw new TokenError(`koffi cannot be loaded: ${(error as Error).message}`, 'BKV_NO_FFI');
  }
  return koffi.address(memory);
}

/** An attribute that makes a key safer, but that not every module accepts. */
export interface Hardening {
  readonly name: string;
  readonly type: number;
  value(): boolean | Buffer;
}

const TEMPLATE_REFUSED: ReadonlySet<number> = new Set([
  pkcs11.CKR_ATTRIBUTE_TYPE_INVALID,
  pkcs11.CKR_ATTRIBUTE_VALUE_INVALID,
  pkcs11.CKR_ATTRIBUTE_READ_ONLY,
  pkcs11.CKR_TEMPLATE_INCONSISTENT,
]);
const isRefused = (error: unknown): boolean =>
  TEMPLATE_REFUSED.has((error as pkcs11.Pkcs11Error).code) || (error as TokenError).reason === 'BKV_NO_FFI';

/**
 * Makes a key with as many of the hardenings as the module accepts. @param hardenings in the order in which
 * the module gets them: SoftHSM2 2.6.1 wants CKA_MODIFIABLE=false last @returns what was made, the template
 * that was used, and the names of the attributes that it lacks
 */
export function harden<T>(
  template: pkcs11.Template,
  hardenings: readonly Hardening[],
  make: (template: pkcs11.Template) => T,
): { made: T; template: pkcs11.Template; lacks: string[] } {
  let refusal: unknown;
  for (const kept of subsets(hardenings)) {
    try {
      const whole = [...template, ...kept.map((one) => ({ type: one.type, value: one.value() }))];
      const made = make(whole);
      return {
        made,
        template: whole,
        lacks: hardenings.filter((one) => !kept.includes(one)).map(({ name }) => name),
      };
    } catch (error) {
      if (!isRefused(error)) throw error;
      refusal ??= error;
    }
  }
  throw refusal;
}

/** All subsets: the whole set comes first, the empty set last. */
function subsets<T>(all: readonly T[]): T[][] {
  const every = Array.from({ length: 2 ** all.length }, (_, mask) =>
    all.filter((_, i) => (mask & (1 << i)) === 0),
  );
  return every.sort((a, b) => b.length - a.length);
}
