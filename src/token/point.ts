import { ECDH } from 'node:crypto';
import { normalizeZ } from '@noble/curves/abstract/curve.js';
import { p256 } from '@noble/curves/nist.js';
import { InvalidPoint, TokenError } from './errors.js';

export type Point = InstanceType<typeof p256.Point>;
const { Point } = p256;
const { Fp } = Point;

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

/** A point of P-256 from its SEC1 compressed form, 33 bytes. @throws InvalidPoint */
export function toPoint(compressed: Uint8Array): Point {
  const sec1 = decompress(compressed);
  return Point.fromAffine({ x: toBigInt(sec1.subarray(1, 33)), y: toBigInt(sec1.subarray(33)) });
}

/** The only thing a PKCS#11 token gives: x(k·P), 32 bytes, of an uncompressed (65 bytes) point P. */
export type DeriveX = (point: Uint8Array) => Uint8Array;

/** A point M to be multiplied, and M + G. */
export interface Multiplicand {
  readonly element: Point;
  readonly shifted: Point;
}

/** Checks elements of 33 bytes and readies them for {@link multiply}, at the price of one field inversion for all. @throws InvalidPoint */
export function prepare<const E extends readonly Uint8Array[]>(
  elements: E,
): { [K in keyof E]: Multiplicand } {
  const points = elements.map(toPoint);
  const shifted = normalizeZ(
    Point,
    points.map((point) => point.add(Point.BASE)),
  );
  return points.map((element, i) => ({ element, shifted: shifted[i] })) as { [K in keyof E]: Multiplicand };
}

/**
 * k·M as a compressed point (33 bytes), from a key that only tells x-coordinates.
 *
 * x(k·M) leaves the sign of y open; x(k·(M+G)) = x(k·M + PK), with PK = k·G public, closes it: for R + PK = S the
 * addition law says (y_R - y_PK)² = (x_R - x_PK)²·(x_R + x_PK + x_S), which only one of ±y_R meets.
 *
 * M = ±G is answered from PK, since x_R - x_PK, or M + G, would vanish.
 */
export function multiply(deriveX: DeriveX, publicKey: Point, { element, shifted }: Multiplicand): Uint8Array {
  if (element.equals(Point.BASE)) return publicKey.toBytes(true);
  if (shifted.is0()) return publicKey.negate().toBytes(true);

  const derived = deriveX(element.toBytes(false));
  const derivedShifted = deriveX(shifted.toBytes(false));
  const result = new Uint8Array(33);
  result[0] = 2;
  result.set(derived, 1);
  const { x, y } = toPoint(result);
  const { x: xPK, y: yPK } = publicKey;
  const xS = toBigInt(derivedShifted);
  derived.fill(0);
  derivedShifted.fill(0);
  const square = Fp.mul(Fp.sqr(Fp.sub(x, xPK)), Fp.add(Fp.add(x, xPK), xS));
  if (Fp.eql(Fp.sqr(Fp.sub(y, yPK)), square)) return result;
  if (!Fp.eql(Fp.sqr(Fp.add(y, yPK)), square))
    throw new TokenError('a key does not belong to its public key', 'BKV_KEY_PAIR');
  result[0] = 3;
  return result;
}
