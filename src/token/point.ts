import { ECDH } from 'node:crypto';
import { p256 } from '@noble/curves/nist.js';
import { InvalidPoint, TokenError } from './errors.js';

export type Point = InstanceType<typeof p256.Point>;
const { Point } = p256;
const { Fp } = Point;
const { a, b } = Point.CURVE();

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

/**
 * k·M as a compressed point (33 bytes), from a key that only tells x-coordinates.
 *
 * x(k·M) leaves the sign of y open; x(k·(M+G)) = x(k·M + PK), with PK = k·G public, closes it. For R + PK = S the
 * addition law says (x_R - x_PK)²·(x_R + x_PK + x_S) = (y_R - y_PK)², and with y_R² from the curve's equation
 * y_R is what is left: no square root, and no guess at a sign.
 *
 * M = ±G is answered from PK, since x_R - x_PK, or M + G, would vanish.
 */
export function multiply(deriveX: DeriveX, publicKey: Point, element: Point): Uint8Array {
  if (element.equals(Point.BASE)) return publicKey.toBytes(true);
  if (element.equals(Point.BASE.negate())) return publicKey.negate().toBytes(true);

  const derived = deriveX(element.toBytes(false));
  const shifted = deriveX(element.add(Point.BASE).toBytes(false));
  const [x, xS] = [toBigInt(derived), toBigInt(shifted)];
  const { x: xPK, y: yPK } = publicKey;
  const ySquared = Fp.add(Fp.mul(Fp.add(Fp.sqr(x), a), x), b);
  const sum = Fp.mul(Fp.sqr(Fp.sub(x, xPK)), Fp.add(Fp.add(x, xPK), xS));
  const y = Fp.div(Fp.sub(Fp.add(ySquared, Fp.sqr(yPK)), sum), Fp.add(yPK, yPK));
  if (!Fp.eql(Fp.sqr(y), ySquared))
    throw new TokenError('a key does not belong to its public key', 'BKV_KEY_PAIR');
  const result = new Uint8Array(33);
  result[0] = y & 1n ? 3 : 2;
  result.set(derived, 1);
  derived.fill(0);
  shifted.fill(0);
  return result;
}
