import { p256 } from '@noble/curves/nist.js';
import { compress, decompress, InvalidInput } from '../elements/index.js';
import { TokenError } from './errors.js';

export type Point = InstanceType<typeof p256.Point>;
const { Point } = p256;
const { Fp } = Point;
const CURVE = Point.CURVE();

/** DER of an OCTET STRING of less than 128 bytes. */
export const octetString = (bytes: Uint8Array): Uint8Array => Uint8Array.of(0x04, bytes.length, ...bytes);

/**
 * The point in a CKA_EC_POINT, 65 bytes. PKCS#11 wants SEC1 in a DER OCTET STRING. Some modules omit the
 * OCTET STRING, use a BIT STRING instead, or compress the point. @throws TokenError when there is no point of
 * P-256
 */
export function pointOfAttribute(value: Uint8Array): Uint8Array {
  const [tag, length] = value;
  const isDer = length === value.length - 2;
  const inner =
    isDer && tag === 0x04 ? [value.subarray(2)] : isDer && tag === 0x03 ? [value.subarray(3)] : [];
  for (const bytes of [...inner, value]) {
    if (bytes.length !== 33 && bytes.length !== 65) continue;
    try {
      return toPoint(bytes).toBytes(false);
    } catch {
      // It is in another form, or not a point.
    }
  }
  throw new TokenError(
    `the token shows a public key that is not a point of P-256 (CKA_EC_POINT of ${value.length} bytes)`,
    'BKV_POINT',
  );
}

const toBigInt = (bytes: Uint8Array): bigint =>
  BigInt(`0x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')}`);

/** A point of P-256 from its SEC1 form, 33 bytes compressed or 65 uncompressed. @throws InvalidInput */
function toPoint(sec1: Uint8Array): Point {
  if (sec1.length === 65) {
    try {
      return Point.fromBytes(sec1);
    } catch {
      throw new InvalidInput('the bytes are not a point of P-256');
    }
  }
  const uncompressed = decompress(sec1);
  return Point.fromAffine({
    x: toBigInt(uncompressed.subarray(1, 33)),
    y: toBigInt(uncompressed.subarray(33)),
  });
}

/**
 * Checks that `uncompressed` (65 bytes) is the point of P-256 that `compressed` (33) stands for. That takes a
 * quarter of the time of decompressing it. @throws InvalidInput
 */
export function expectPoint(uncompressed: Uint8Array, compressed: Uint8Array): void {
  if (uncompressed.length !== 65 || Buffer.compare(compress(uncompressed), compressed) !== 0)
    throw new InvalidInput('the uncompressed element is not the one of the message');
  toPoint(uncompressed);
}

/** The only result that a PKCS#11 token gives: x(k·P), 32 bytes, for an uncompressed point P, 65 bytes. */
export type DeriveX = (point: Uint8Array) => Uint8Array;

/** A point M to be multiplied, and M + G. */
export interface Multiplicand {
  readonly element: Point;
  readonly shifted: Point;
}

/** PK = k·G, with 1/(2·y), which is computed only once. */
export interface PublicPoint {
  readonly point: Point;
  readonly inverse: bigint;
}

/**
 * Checks elements and the public keys of the scalars that multiply them, and prepares them for {@link
 * multiply}. One field inversion serves for all. @throws InvalidInput
 */
export function prepare<const E extends readonly Uint8Array[], const K extends readonly Uint8Array[]>(
  elements: E,
  publicKeys: K,
) {
  const points = elements.map(toPoint);
  const sums = points.map((point) => point.add(Point.BASE));
  const keys = publicKeys.map(toPoint);
  const inverses = Fp.invertBatch([...sums.map(({ Z }) => Z), ...keys.map(({ y }) => Fp.add(y, y))]);
  const affine = (sum: Point, i: number): Point =>
    sum.is0() ? Point.ZERO : Point.fromAffine(sum.toAffine(inverses[i]));
  return {
    multiplicands: sums.map((sum, i) => ({ element: points[i], shifted: affine(sum, i) })) as {
      [I in keyof E]: Multiplicand;
    },
    publicPoints: keys.map((point, i) => ({ point, inverse: inverses[sums.length + i] })) as {
      [I in keyof K]: PublicPoint;
    },
  };
}

/**
 * k·M as a compressed point (33 bytes), with a key that only gives x-coordinates.
 *
 * x_R = x(k·M) leaves the sign of y_R open; x_S = x(k·(M+G)) = x(R + PK), with PK = k·G public, closes it.
 * The addition law says (y_R - y_PK)² = (x_R - x_PK)²·(x_R + x_PK + x_S), in which y_R² is known from the
 * curve's equation: what is left is linear in y_R. That y_R is on the curve then proves that both answers
 * came from PK's key.
 *
 * M = ±G is answered from PK, since x_R - x_PK, or M + G, would vanish.
 */
export function multiply(deriveX: DeriveX, { point, inverse }: PublicPoint, m: Multiplicand): Uint8Array {
  if (m.element.equals(Point.BASE)) return point.toBytes(true);
  if (m.shifted.is0()) return point.negate().toBytes(true);

  const derived = deriveX(m.element.toBytes(false));
  const derivedShifted = deriveX(m.shifted.toBytes(false));
  const [x, xS] = [toBigInt(derived), toBigInt(derivedShifted)];
  const square = Fp.add(Fp.mul(Fp.add(Fp.sqr(x), CURVE.a), x), CURVE.b);
  const chord = Fp.mul(Fp.sqr(Fp.sub(x, point.x)), Fp.add(Fp.add(x, point.x), xS));
  const y = Fp.mul(Fp.sub(Fp.add(square, Fp.sqr(point.y)), chord), inverse);
  const result = new Uint8Array(33);
  result[0] = y & 1n ? 3 : 2;
  result.set(derived, 1);
  derived.fill(0);
  derivedShifted.fill(0);
  if (!Fp.eql(Fp.sqr(y), square))
    throw new TokenError('a key does not belong to its public key', 'BKV_KEY_PAIR');
  return result;
}
