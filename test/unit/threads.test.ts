import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { withThreads } from '../../src/files/threads.js';

describe('the threads that encrypt', () => {
  it('are replaced when one ends: what it was doing fails, and what comes later is done', async () => {
    const workers: Worker[] = [];
    const remember = (worker: Worker) => void workers.push(worker);
    process.on('worker', remember);
    const bytes = new Uint8Array(300_000).fill(7);
    const digest = createHash('sha256').update(bytes).digest();
    try {
      await withThreads(async (cipher) => {
        await cipher.digest(bytes);
        const [worker] = workers as [Worker];
        const ended = once(worker, 'exit');
        const lost = cipher.digest(bytes);
        // The thread cannot read this, and ends.
        worker.postMessage(undefined);
        await Promise.allSettled([lost, ended]);
        for (let i = 0; i < 3; i++) assert.deepEqual(Buffer.from(await cipher.digest(bytes)), digest);
      });
    } finally {
      process.off('worker', remember);
    }
  });
});
