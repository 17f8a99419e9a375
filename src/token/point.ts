import { ECDH } from 'node:crypto';
import { p256 } from '@noble/curves/nist.js';
import { InvalidPoint } from './errors.js';

type Point = InstanceType<typeof p256.Point>;
const { Point } = p256;

/**
 * Checks that `bytes` (33, SEC1 compressed) is a point of P-256 and returns it uncompressed (65 bytes).
 * The identity has no such form, so it is refused too. @throws InvalidPoint
 */
export function decompress(bytes: Uint8Array): Uint8Array {
  if (bytes.length !== 33) throw new InvalidPoint(`a P-256 element has 33 bytes, not ${bytes.length}`);
  try {
    return ECDH.convertKey(bytes, 'prime256v1', undefined, undefined, 'uncompressed') as Buffer;
  } catch {
    throw new InvalidPoint('the bytes are not a point of P-256');
  }
}

const toBigInt = (bytes: Uint8Array): bigint =>
  BigInt(`0x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')}`);

function toPoint(compressed: Uint8Array): Point {
  const sec1 = decompress(compressed);
  return Point.fromAffine({ x: toBigInt(sec1.subarray(1, 33)), y: toBigInt(sec1.subarray(33)) });
}

/** The only thing a PKCS#11 token gives: x(k·P), 32 bytes, of an uncompressed (65 bytes) point P. */
export type DeriveX = (point: Uint8Array) => Uint8Array;

/**
 * k·M as a compressed point (33 bytes), from a key that only tells x-coordinates.
 *
 * x(k·M) leaves the sign of y open. With PK = k·G public, x(k·(M+G)) = x(±k·M + PK) holds for one sign only: the two
 * candidates differ unless 2·PK or 2·k·M is the identity, which a group of prime order does not have.
 * M = ±G is answered from PK, since M+G would be the identity for one of them.
 *
 * @param publicKey PK, 33 bytes
 * @param element M, 33 bytes
 * @throws InvalidPoint before `deriveX` is called, when M is not a point
 */
export function multiply(deriveX: DeriveX, publicKey: Uint8Array, element: Uint8Array): Uint8Array {
  const m = toPoint(element);
  const pk = toPoint(publicKey);
  if (m.equals(Point.BASE)) return pk.toBytes(true);
  if (m.equals(Point.BASE.negate())) return pk.negate().toBytes(true);

  const x = deriveX(m.toBytes(false));
  const shifted = deriveX(m.add(Point.BASE).toBytes(false));
  const even = new Uint8Array(33);
  even[0] = 2;
  even.set(x, 1);
  try {
    const candidate = toPoint(even);
    const want = toBigInt(shifted);
    const matches = (p: Point): boolean => !p.add(pk).is0() && p.add(pk).x === want;
    if (matches(candidate)) return even;
    if (!matches(candidate.negate())) throw new Error('the key does not belong to its public key');
    const odd = even.slice();
    odd[0] = 3;
    even.fill(0);
    return odd;
  } finally {
    x.fill(0);
    shifted.fill(0);
  }
}
