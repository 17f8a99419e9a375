import assert from 'node:assert/strict';
import { Restarts } from '../../src/process/index.js';

it('a process that ends again and again is restarted later each time, and at once after a good minute', () => {
  const restarts = new Restarts();
  const waits = [0, 0, 0, 0, 0, 0].map(() => restarts.waitAfter(performance.now()));
  assert.deepEqual(waits, [100, 500, 1000, 5000, 10_000, 10_000]);
  assert.equal(restarts.waitAfter(performance.now() - 61_000), 100);
  assert.equal(restarts.waitAfter(performance.now()), 500);
});
