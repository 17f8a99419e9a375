import assert from 'node:assert/strict';
import { createECDH } from 'node:crypto';
import { p256 } from '@noble/curves/nist.js';
import { freshToken } from '../rig/token.js';
import { decompress, InvalidInput } from '../src/keeper/elements/index.js';
import { TokenError, type WrappedKey } from '../src/keeper/pkcs11/index.js';
import type { TravellingShare } from '../src/keeper/pkcs11/shares.js';
import { wrapScalar } from '../src/keeper/pkcs11/wrapping.js';
import { TokenPool } from '../src/keeper/pool/index.js';
import { dealKey, evaluate, interpolate, oprf, type Share, subsets } from '../src/protocol/index.js';

describe('threshold OPRF', () => {
  const { blind, blinded } = oprf.blind(Buffer.from('password'));
  for (const [threshold, parties] of [
    [2, 3],
    [3, 5],
    [1, 1],
  ] as const) {
    it(`every ${threshold} of ${parties} evaluate as the whole key does, fewer do not`, () => {
      const { key, shares } = dealKey(threshold, parties);
      const whole = evaluate(key, blinded);
      assert.deepEqual(
        oprf.finalize(Buffer.from('password'), blind, whole),
        oprf.finalize(Buffer.from('password'), blind, oprf.blindEvaluate(key, blinded)),
      );
      const evaluations = shares.map(({ index, scalar }) => ({ index, element: evaluate(scalar, blinded) }));
      for (const some of subsets(evaluations, threshold)) assert.deepEqual(interpolate(some), whole);
      if (threshold > 1)
        for (const few of subsets(evaluations, threshold - 1)) assert.notDeepEqual(interpolate(few), whole);
    });
  }

  describe('a share that is sent into a token', () => {
    let token: TokenPool;
    let pair: WrappedKey;
    const [share, other] = dealKey(3, 5).shares as [Share, Share];
    const long = (publicKey: Uint8Array) => decompress(publicKey);
    const travelling = (scalar: Uint8Array, publicKey: Uint8Array, E = pair.publicKey) => {
      const client = createECDH('prime256v1');
      const keyshare = client.generateKeys();
      return { keyshare, wrapped: wrapScalar(scalar, client.computeSecret(E)), publicKey: long(publicKey) };
    };
    before(async () => {
      token = await TokenPool.open(freshToken());
      pair = await token.call('generateWrapped');
    });
    after(() => token.close());

    it('is evaluated there', async () => {
      const wrapped = await token.call('importShare', pair, travelling(share.scalar, share.publicKey));
      assert.equal(wrapped.length, 80);
      const evaluated = await token.call('multiply', { wrapped, publicKey: share.publicKey }, blinded);
      assert.deepEqual(Buffer.from(evaluated), Buffer.from(evaluate(share.scalar, blinded)));
    });

    const G = p256.Point.BASE.toBytes(true);
    const order = Buffer.from(p256.Point.Fn.ORDER.toString(16), 'hex');
    const bad: Record<string, () => Promise<TravellingShare> | TravellingShare> = {
      // A share that was recorded and is sent into another registration, with another pair or another client's key share.
      'one for another pair': async () =>
        travelling(share.scalar, share.publicKey, (await token.call('generateWrapped')).publicKey),
      'one under another key share': () => ({
        ...travelling(share.scalar, share.publicKey),
        keyshare: createECDH('prime256v1').generateKeys(),
      }),
      'random bytes': () => ({
        ...travelling(share.scalar, share.publicKey),
        wrapped: new Uint8Array(80).fill(7),
      }),
      'one of another public key': () => travelling(share.scalar, other.publicKey),
      'one that claims to be 1': () => travelling(share.scalar, G),
      zero: () => travelling(new Uint8Array(32), share.publicKey),
      'the order of the curve': () => travelling(order, share.publicKey),
    };
    for (const [what, make] of Object.entries(bad))
      it(`is refused as a fault of its sender, not of the token: ${what}`, async () => {
        await assert.rejects(token.call('importShare', pair, await make()), InvalidInput);
        assert.equal(token.state, 'up');
      });

    it('does not blame the sender when the token fails', async () => {
      const broken = { wrapped: new Uint8Array(80), publicKey: pair.publicKey };
      await assert.rejects(
        token.call('importShare', broken, travelling(share.scalar, share.publicKey)),
        TokenError,
      );
    });
  });
});
