import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { told } from '../../src/cli/told.js';
import { embeddedJwt, makeIssuer } from '../../src/daemon/index.js';

describe('what the system or a folder lacks', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bkv-lacks-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const saidOf = (act: () => unknown): string => {
    try {
      act();
    } catch (error) {
      return told(error as Error);
    }
    throw new Error('nothing was refused');
  };

  it('is named with its path or address, and the reason in words', async () => {
    const none = join(folder, 'none');
    assert.equal(
      saidOf(() => readFileSync(none)),
      `${none}: it is not there (open, ENOENT)`,
    );
    assert.equal(
      saidOf(() => readFileSync(folder)),
      'Error: EISDIR: illegal operation on a directory, read',
    );
    const first = createServer().listen(0, '127.0.0.1');
    await once(first, 'listening');
    const { port } = first.address() as { port: number };
    const [error] = await once(createServer().listen(port, '127.0.0.1'), 'error');
    first.close();
    assert.equal(told(error), `127.0.0.1:${port}: another program listens there (listen, EADDRINUSE)`);
    assert.equal(told(new RangeError('a slip')), 'RangeError: a slip');
  });

  it('is a folder: an issuer makes it, but no JWT is given without the key of its vault', async () => {
    const data = join(folder, 'data');
    await makeIssuer(data);
    assert.ok(existsSync(join(data, 'issuer.key.pem')));
    await assert.rejects(embeddedJwt(data, 'alice', 60), { code: 'usage', message: /--server-key/ });
    assert.match(await embeddedJwt(data, 'alice', 60, 'key'), /^ey/);
  });
});
