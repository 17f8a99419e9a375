import assert from 'node:assert/strict';
import { closeAll } from '../../src/process/index.js';

describe('what a process closes at its end', () => {
  it('is closed in order, even if some of it fails', async () => {
    const closed: string[] = [];
    const failed: string[] = [];
    const closing = [
      async () => void closed.push('sockets'),
      () => {
        throw new Error('duty');
      },
      async () => Promise.reject(new Error('database')),
      async () => void closed.push('token'),
    ];
    await closeAll(closing, ({ message }) => failed.push(message));
    assert.deepEqual(
      [closed, failed],
      [
        ['sockets', 'token'],
        ['duty', 'database'],
      ],
    );
  });
});
