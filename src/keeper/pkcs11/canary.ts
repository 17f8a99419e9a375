import { createECDH, timingSafeEqual } from 'node:crypto';
import pkcs11 from 'pkcs11js';
import { waysToUnwrap } from './attacks/index.js';
import type { Hardening } from './attributes.js';
import type { Binding } from './binding.js';
import { deriveX } from './evaluation.js';
import { hardeningsHeld, readable } from './faults.js';
import { hmac } from './keyring.js';
import { hardeningsOf } from './keys.js';
import { KEY_LABELS } from './labels.js';
import { dataObject } from './objects.js';
import { wrapKeyHardenings } from './templates.js';
import type { WrappedKey } from './wrapping.js';

/**
 * A key pair that `bkv.wrap` wraps and nobody uses, in a data object that `bkv.ledger` authenticates. It
 * serves two purposes. If somebody replaces `bkv.wrap`, this is noticed, because the new key does not unwrap
 * the canary. And what an insider could do to an account's key is tried on it.
 */
export interface Canary extends WrappedKey {
  /** the hardenings that the token's keys had when the canary was made; they must keep them for ever */
  readonly hardened: ReadonlySet<number>;
}

export const CANARY_LABEL = 'bkv.canary';
const VERSION = 1;
const POINT = 65;
const TAG = 32;
/** The hardenings by their bits. */
const BITS: readonly number[] = wrapKeyHardenings(0).map(({ type }) => type);

const tagInput = (body: Uint8Array): Buffer => Buffer.concat([Buffer.from(`${CANARY_LABEL}\0`), body]);

/**
 * The value of a canary's object: version (u8), hardenings (u8), public key (65 bytes), wrapped key, HMAC (32).
 * @param mac HMAC-SHA-256 under `bkv.ledger`
 */
export function sealCanary(
  { publicKey, wrapped, hardened }: Canary,
  mac: (data: Uint8Array) => Uint8Array,
): Uint8Array {
  const bits = BITS.reduce((sum, type, i) => sum | (hardened.has(type) ? 1 << i : 0), 0);
  const body = Buffer.concat([Buffer.of(VERSION, bits), publicKey, wrapped]);
  return Buffer.concat([body, mac(tagInput(body))]);
}

/** @returns `undefined` for a value that this token's ledger key did not authenticate */
function openCanary(value: Uint8Array, mac: (data: Uint8Array) => Uint8Array): Canary | undefined {
  if (value.length <= 2 + POINT + TAG || value[0] !== VERSION) return undefined;
  const body = value.subarray(0, value.length - TAG);
  if (!timingSafeEqual(mac(tagInput(body)), value.subarray(body.length))) return undefined;
  const bits = body[1] as number;
  return {
    hardened: new Set(BITS.filter((_, i) => bits & (1 << i))),
    publicKey: body.subarray(2, 2 + POINT),
    wrapped: body.subarray(2 + POINT),
  };
}

const OBJECT = dataObject(CANARY_LABEL);

/**
 * Makes a token's canary. It replaces whatever has its name.
 * @param keys the long-lived ones by their labels
 * @param pair under `bkv.wrap`
 */
export function makeCanary(
  binding: Binding,
  keys: ReadonlyMap<string, pkcs11.Handle>,
  pair: WrappedKey,
): void {
  const wrappingKey = keys.get(KEY_LABELS.wrap) as pkcs11.Handle;
  const ledgerKey = keys.get(KEY_LABELS.ledger) as pkcs11.Handle;
  const hardened = new Set(heldByAll(binding, keys).map(({ type }) => type));
  if (waysToUnwrap(binding, wrappingKey, pair).length === 0) hardened.add(pkcs11.CKA_UNWRAP_TEMPLATE);
  const value = sealCanary({ ...pair, hardened }, (data) => hmac(binding, ledgerKey, data));
  const before = binding.find(OBJECT);
  binding.p11.C_CreateObject(binding.session, [
    ...OBJECT,
    { type: pkcs11.CKA_VALUE, value: Buffer.from(value) },
  ]);
  for (const handle of before) binding.destroy(handle);
}

/** The readable hardenings that every key has which should have them. */
function heldByAll(binding: Binding, keys: ReadonlyMap<string, pkcs11.Handle>): Hardening[] {
  const lacked = new Set<number>();
  for (const label of Object.values(KEY_LABELS)) {
    const wanted = readable(hardeningsOf(label, binding.keyWrap.mechanism));
    const held = hardeningsHeld(binding, keys.get(label) as pkcs11.Handle, wanted);
    for (const one of wanted) if (!held.includes(one)) lacked.add(one.type);
  }
  return readable(wrapKeyHardenings(binding.keyWrap.mechanism)).filter(({ type }) => !lacked.has(type));
}

/** The token's canary. @param strange is told about objects of that name that others put there */
export function findCanary(
  binding: Binding,
  ledgerKey: pkcs11.Handle,
  strange: (label: string) => void,
): Canary | undefined {
  const found = binding
    .find(OBJECT)
    .map((handle) =>
      openCanary(binding.attribute(handle, pkcs11.CKA_VALUE), (data) => hmac(binding, ledgerKey, data)),
    );
  if (found.includes(undefined)) strange(CANARY_LABEL);
  return found.find((canary) => canary !== undefined);
}

/** Whether both halves of a pair agree with a stranger on the same secret. @param publicKey 65 bytes */
export function isPair(binding: Binding, key: pkcs11.Handle, publicKey: Uint8Array): boolean {
  const stranger = createECDH('prime256v1');
  const point = stranger.generateKeys();
  try {
    return timingSafeEqual(deriveX(binding, key, point), stranger.computeSecret(publicKey));
  } catch (error) {
    // The point is not on the curve. A module's error would have a number as its code.
    if (String((error as NodeJS.ErrnoException).code).startsWith('ERR_CRYPTO')) return false;
    throw error;
  }
}
