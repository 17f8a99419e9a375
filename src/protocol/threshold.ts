import { p256 } from '@noble/curves/nist.js';

/**
 * The threshold form of the OPRF: Shamir's sharing of its key over the order of P-256, and evaluations
 * combined in the exponent (Lagrange), so that no party but the dealer ever holds the whole key. The result
 * is byte for byte the evaluation of RFC 9497 under the whole key.
 */
const { Point } = p256;
const { Fn } = Point;
type Element = InstanceType<typeof Point>;

/** One party's part. Index 1 to N; element 33 bytes. */
export interface Evaluation {
  readonly index: number;
  readonly element: Uint8Array;
}

/** Part of the key. Index 1 to N; scalar 32 bytes; publicKey = scalar·G, 33 bytes. */
export interface Share {
  readonly index: number;
  readonly scalar: Uint8Array;
  readonly publicKey: Uint8Array;
}

/** The coefficient of party `index` when the sharing polynomial is evaluated at `at` from the parties `indices`. */
function lagrange(index: number, indices: readonly number[], at: number): bigint {
  const x = Fn.create(BigInt(index));
  let numerator = Fn.ONE;
  let denominator = Fn.ONE;
  for (const other of indices) {
    if (other === index) continue;
    const xOther = Fn.create(BigInt(other));
    numerator = Fn.mul(numerator, Fn.sub(Fn.create(BigInt(at)), xOther));
    denominator = Fn.mul(denominator, Fn.sub(x, xOther));
  }
  return Fn.div(numerator, denominator);
}

/**
 * Deals a fresh random key to `parties`, of which any `threshold` evaluate with it.
 * @returns the whole key (32 bytes, to be zeroed once used) and the shares
 */
export function dealKey(threshold: number, parties: number): { key: Uint8Array; shares: Share[] } {
  if (!(threshold >= 1 && threshold <= parties))
    throw new RangeError('the threshold must be from 1 to the number of parties');
  for (;;) {
    const coefficients = Array.from({ length: threshold }, () => Fn.fromBytes(p256.utils.randomSecretKey()));
    const shares = Array.from({ length: parties }, (_, i) => {
      const x = Fn.create(BigInt(i + 1));
      return coefficients.reduceRight((sum, coefficient) => Fn.add(Fn.mul(sum, x), coefficient), Fn.ZERO);
    });
    // The probability is negligible, but no share may be zero.
    if (shares.some((scalar) => Fn.is0(scalar))) continue;
    return {
      key: Fn.toBytes(coefficients[0] as bigint),
      shares: shares.map((scalar, i) => ({
        index: i + 1,
        scalar: Fn.toBytes(scalar),
        publicKey: Point.BASE.multiply(scalar).toBytes(true),
      })),
    };
  }
}

/** key·element, 33 bytes: what the dealer evaluates by itself at registration. */
export const evaluate = (key: Uint8Array, element: Uint8Array): Uint8Array =>
  Point.fromBytes(element).multiply(Fn.fromBytes(key)).toBytes(true);

/** The evaluation of the party `at` (0: under the whole key) that the given ones imply, 33 bytes. */
export function interpolate(evaluations: readonly Evaluation[], at = 0): Uint8Array {
  const indices = evaluations.map(({ index }) => index);
  const sum = evaluations.reduce<Element>((total, { index, element }) => {
    const coefficient = lagrange(index, indices, at);
    // Evaluations are public to whoever combines them, so variable time leaks nothing.
    return Fn.is0(coefficient) ? total : total.add(Point.fromBytes(element).multiplyUnsafe(coefficient));
  }, Point.ZERO);
  if (sum.is0()) throw new RangeError('the evaluations combine to the identity: one of them is wrong');
  return sum.toBytes(true);
}

/** Every choice of `size` of the items. */
export function* subsets<T>(items: readonly T[], size: number): Generator<T[]> {
  if (size === 0) {
    yield [];
    return;
  }
  for (let i = 0; i + size <= items.length; i++)
    for (const rest of subsets(items.slice(i + 1), size - 1)) yield [items[i] as T, ...rest];
}
