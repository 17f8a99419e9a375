import { createECDH } from 'node:crypto';
import { ScalarMultiplier } from '@noble/curves/abstract/curve.js';
import { p256 } from '@noble/curves/nist.js';
import { decompress } from '../../src/keeper/elements/index.js';
import { multiply, prepare } from '../../src/keeper/pkcs11/point.js';

const { Point } = p256;
const { Fn } = Point;
type Element = InstanceType<typeof Point>;

const toPoint = (uncompressed: Uint8Array): Element => {
  const hex = Buffer.from(uncompressed).toString('hex');
  return Point.fromAffine({ x: BigInt(`0x${hex.slice(2, 66)}`), y: BigInt(`0x${hex.slice(66)}`) });
};

const nameOf = (element: Uint8Array): string => Buffer.from(element).toString('base64');
/** Known discrete logarithms of points. A multiple of such a point is computed as a multiple of G, which is fastest. */
const logarithms = new Map<string, bigint>();

/** scalar·G, 33 bytes. */
export function publicKeyOf(scalar: Uint8Array): Uint8Array {
  const pair = createECDH('prime256v1');
  pair.setPrivateKey(scalar);
  const element = Uint8Array.from(pair.getPublicKey(null, 'compressed'));
  logarithms.set(nameOf(element), Fn.fromBytes(scalar));
  return element;
}

/** scalar·element, 33 bytes, by OpenSSL, which is ten times as fast as the client's arithmetic. */
export function times(scalar: Uint8Array, element: Uint8Array): Uint8Array {
  const logarithm = logarithms.get(nameOf(element));
  if (logarithm !== undefined) return publicKeyOf(Fn.toBytes(Fn.mul(Fn.fromBytes(scalar), logarithm)));
  const pair = createECDH('prime256v1');
  pair.setPrivateKey(scalar);
  const { multiplicands, publicPoints } = prepare([element], [pair.getPublicKey()]);
  return multiply((point) => pair.computeSecret(point), publicPoints[0], multiplicands[0]);
}

const product = (point: Element, scalar: bigint): Element => {
  const bytes = Fn.toBytes(scalar);
  return toPoint(decompress(point === Point.BASE ? publicKeyOf(bytes) : times(bytes, point.toBytes(true))));
};

/** Makes the client multiply points of P-256 by OpenSSL as well. @returns a function that undoes this */
export function multiplyByOpenSSL(): () => void {
  const { prototype } = ScalarMultiplier;
  const { mulSecret, mulUnsafe, hasWindowSize } = prototype;
  // biome-ignore lint/suspicious/noExplicitAny: of any curve; only P-256 is taken.
  const isOurs = (multiplier: any): boolean => multiplier.Point === Point;
  // biome-ignore lint/suspicious/noExplicitAny: as the library declares them.
  const replaced = prototype as any;
  replaced.mulSecret = function (...args: Parameters<typeof mulSecret>) {
    if (!isOurs(this)) return mulSecret.apply(this, args);
    const p = product(args[0] as Element, args[1]);
    return { p, f: p };
  };
  replaced.mulUnsafe = function (...args: Parameters<typeof mulUnsafe>) {
    return isOurs(this) && args[1] < Fn.ORDER
      ? product(args[0] as Element, args[1])
      : mulUnsafe.apply(this, args);
  };
  replaced.hasWindowSize = function (...args: Parameters<typeof hasWindowSize>) {
    return isOurs(this) || hasWindowSize.apply(this, args);
  };
  return () => {
    logarithms.clear();
    Object.assign(prototype, { mulSecret, mulUnsafe, hasWindowSize });
  };
}
