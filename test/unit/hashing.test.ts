import assert from 'node:assert/strict';
import { expand, extract } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { randomNumbers, seed } from '../../rig/random.js';
import { native, portable } from '../../src/protocol/hashing.js';
import { hkdfExpand, hkdfExtract } from '../../src/protocol/suite.js';

describe(`hashing (BKV_SEED=${seed})`, () => {
  const random = randomNumbers(seed);
  const bytes = (most: number) =>
    Uint8Array.from({ length: Math.floor(random() * (most + 1)) }, () => Math.floor(random() * 256));
  // Some keys are longer than a block of SHA-256.
  const inputs = Array.from({ length: 200 }, () => [bytes(130), bytes(300)] as const);

  it('is the same in Node and in a browser', () => {
    assert.ok(native);
    for (const [key, data] of [[new Uint8Array(0), new Uint8Array(0)] as const, ...inputs]) {
      assert.deepEqual(native.mac(key, data), portable.mac(key, data));
      assert.deepEqual(native.hash(data), portable.hash(data));
    }
    const mac = native.mac(new Uint8Array(32), new Uint8Array(1));
    mac.slice().fill(0);
    assert.notDeepEqual(mac, new Uint8Array(32));
  });

  it('derives keys as RFC 5869 says', () => {
    for (const [key, data] of inputs) {
      assert.deepEqual(hkdfExtract(data, key), extract(sha256, data, key));
      assert.deepEqual(hkdfExtract(data), extract(sha256, data));
      const prk = hkdfExtract(data, key);
      for (const length of [1, 31, 32, 33, 64, 97])
        assert.deepEqual(hkdfExpand(prk, data, length), expand(sha256, prk, data, length));
    }
  });
});
