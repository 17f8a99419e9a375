import assert from 'node:assert/strict';
import { createECDH, createPublicKey, publicEncrypt } from 'node:crypto';
import { aeskwp } from '@noble/ciphers/aes.js';
import { TokenPool } from '../src/keeper/pool/index.js';
import { dealKey, evaluate, interpolate, oprf, subsets } from '../src/protocol/index.js';
import { freshToken } from './support/token.js';

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

  it('a share travels wrapped into the token and is evaluated there', async () => {
    const token = await TokenPool.open(freshToken());
    try {
      const spki = await token.call('transportPublicKey');
      const publicKey = createPublicKey({ key: Buffer.from(spki), type: 'spki', format: 'der' });
      assert.equal(publicKey.asymmetricKeyDetails?.modulusLength, 3072);
      const [share] = dealKey(3, 5).shares as [ReturnType<typeof dealKey>['shares'][0]];
      const aes = crypto.getRandomValues(new Uint8Array(32));
      const pkcs8 = Buffer.concat([
        Buffer.from('3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420', 'hex'),
        share.scalar,
      ]);
      const wrapped = await token.call(
        'importWrapped',
        publicEncrypt({ key: publicKey, oaepHash: 'sha1' }, aes),
        aeskwp(aes).encrypt(pkcs8),
      );
      assert.equal(wrapped.length, 80);
      const evaluated = await token.call('multiply', { wrapped, publicKey: share.publicKey }, blinded);
      assert.deepEqual(Buffer.from(evaluated), Buffer.from(evaluate(share.scalar, blinded)));
      await assert.rejects(token.call('importWrapped', new Uint8Array(384), aeskwp(aes).encrypt(pkcs8)));
    } finally {
      await token.close();
    }
  });

  it('a share travels under a key that the token agrees on for it alone', async () => {
    const token = await TokenPool.open(freshToken());
    try {
      const [share] = dealKey(3, 5).shares as [ReturnType<typeof dealKey>['shares'][0]];
      const pkcs8 = Buffer.concat([
        Buffer.from('3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420', 'hex'),
        share.scalar,
      ]);
      const [pair, otherPair] = [await token.call('generateWrapped'), await token.call('generateWrapped')];
      const client = createECDH('prime256v1');
      const keyshare = client.generateKeys();
      const wrappedShare = aeskwp(client.computeSecret(pair.publicKey)).encrypt(pkcs8);
      const wrapped = await token.call('importShare', pair, keyshare, wrappedShare);
      assert.equal(wrapped.length, 80);
      const evaluated = await token.call('multiply', { wrapped, publicKey: share.publicKey }, blinded);
      assert.deepEqual(Buffer.from(evaluated), Buffer.from(evaluate(share.scalar, blinded)));
      // Recorded, and sent into another registration: with another pair, or another client's key share.
      await assert.rejects(token.call('importShare', otherPair, keyshare, wrappedShare));
      const stranger = createECDH('prime256v1').generateKeys();
      await assert.rejects(token.call('importShare', pair, stranger, wrappedShare));
    } finally {
      await token.close();
    }
  });
});
