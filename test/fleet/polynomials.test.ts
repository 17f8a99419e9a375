import assert from 'node:assert/strict';
import { p256 } from '@noble/curves/nist.js';
import { agreements, exposed, suspected } from '../../src/client/fleet/polynomials.js';
import { dealKey, evaluate, interpolate, oprf } from '../../src/protocol/index.js';

const { Point } = p256;

describe('evaluations of which some are wrong', () => {
  const { blinded } = oprf.blind(Buffer.from('password'));
  const { key, shares } = dealKey(3, 5);
  const right = evaluate(key, blinded);
  const given = shares.map(({ index, scalar }) => ({
    member: `m${index}`,
    index,
    element: evaluate(scalar, blinded),
  }));
  const off = (one: (typeof given)[number], by: bigint) => ({
    ...one,
    element: Point.fromBytes(one.element).add(Point.BASE.multiply(by)).toBytes(true),
  });
  const [a, b, c, d, e] = given as [
    (typeof given)[0],
    (typeof given)[0],
    (typeof given)[0],
    (typeof given)[0],
    (typeof given)[0],
  ];
  /** Two are wrong in such a way that together with the third, which is honest, they combine to the right element. */
  const cancelling = (() => {
    // The Lagrange coefficients of the indices 1, 2, 3 at 0 are 3, -3, 1, so that equal errors cancel out.
    return [off(a, 1n), off(b, 1n), c, d, e];
  })();

  it('finds first the polynomial on which most evaluations lie', () => {
    const lied = [off(a, 7n), b, c, d, e];
    const [most] = agreements(3, lied);
    assert.deepEqual(most?.members, ['m2', 'm3', 'm4', 'm5']);
    assert.deepEqual(most?.element, right);
    assert.ok(agreements(3, lied).length <= 10, 'no more than the ways to choose three of five');
    assert.equal(agreements(3, given).length, 1, 'one when all agree');
  });

  it('exposes one of two possible liars by the right element, and never an honest member', () => {
    assert.deepEqual(exposed(3, 2, [off(a, 7n), b, c, d, e], right), ['m1']);
    assert.deepEqual(exposed(3, 2, given, right), []);
    assert.deepEqual(exposed(3, 2, [a, b, c], right), [], 'three agree, whoever of them lies');
  });

  it('accuses nobody when two liars cancel each other out, and two stories are possible', () => {
    assert.deepEqual(interpolate(cancelling.slice(0, 3)), right, 'they do');
    assert.deepEqual(exposed(3, 2, cancelling, right), []);
  });

  it('without the right element, exposes if those who agree must include enough honest ones, and suspects before that', () => {
    const lied = [off(a, 7n), b, c, d, e];
    assert.deepEqual(exposed(3, 1, lied), ['m1']);
    assert.deepEqual(exposed(3, 2, lied), []);
    assert.deepEqual(suspected(3, lied), ['m1']);
    assert.deepEqual(
      suspected(3, [off(a, 7n), b, c, d]),
      [],
      'four evaluations tell nothing of the one that is wrong',
    );
    assert.deepEqual(suspected(3, given), []);
  });
});
