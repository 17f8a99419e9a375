import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from '../rig/daemon.js';
import { cheapStretch } from '../rig/stretching.js';
import { discardData } from '../rig/token.js';
import { newBackupKey, type StretchPassword, VaultClient } from '../src/client/index.js';

const FINISHES = [
  ['POST', '/v1/recovery/finish', { recoveryId: 'A'.repeat(22), KE3: 'A'.repeat(43) }],
  ['DELETE', `/v1/recovery/${'A'.repeat(22)}`, undefined],
] as const;

describe('the finish of an exchange whose start was let in by the limits', () => {
  const data = mkdtempSync(join(tmpdir(), 'bkv-limits-'));
  const { fetch } = globalThis;
  let daemon: Daemon;
  before(async () => {
    daemon = await Daemon.start(data, { config: 'rateLimit: { account: 30, address: 60 }\n' });
  });
  afterEach(() => {
    globalThis.fetch = fetch;
  });
  after(async () => {
    await daemon.stop();
    discardData(data);
  });

  /** A client that calls `between` between the start and the finish of a recovery. */
  const client = (account: string, between: () => Promise<void>) => {
    let calls = 0;
    const stretch: StretchPassword = async (...given) => {
      if (++calls % 2 === 0) await between();
      return cheapStretch(...given);
    };
    return new VaultClient({
      stretch,
      url: daemon.url,
      serverPublicKey: Buffer.from(daemon.serverPublicKey, 'base64url'),
      account,
      accessToken: () => daemon.jwt(account),
    });
  };
  const spend = async (account: string | undefined, path: string) => {
    for (let i = 0; i < 100; i++) if ((await daemon.fetch(account, 'GET', path)).status === 429) return;
    assert.fail('the limit is never reached');
  };

  it('is sent again as long as the vault waits for it', async () => {
    const failures = [
      () => new Response(null, { status: 503, headers: { 'retry-after': '0' } }),
      () => Promise.reject(new TypeError('the line broke')),
      () => new Response(null, { status: 429 }),
    ];
    const bob = client('bob', async () => undefined);
    const key = newBackupKey();
    await bob.register('right', key);
    const left = [...failures];
    const sent = new Set<string>();
    globalThis.fetch = async (input, init) => {
      if (!String(input).endsWith('/v1/recovery/finish')) return fetch(input, init);
      sent.add(String(init?.body));
      return left.shift()?.() ?? fetch(input, init);
    };
    assert.deepEqual((await bob.recover('right')).backupKey, key);
    assert.deepEqual([left.length, sent.size], [0, 1], 'each time the same message');
  });

  it('counts in no limit: neither neighbours nor other devices cost an attempt', async () => {
    const key = newBackupKey();
    await client('alice', async () => undefined).register('right', key);
    let reached = false;
    const alice = client('alice', async () => {
      await spend('alice', '/v1/account');
      await spend(undefined, '/v1/identity');
      reached = true;
    });
    assert.deepEqual((await alice.recover('right')).backupKey, key);
    assert.ok(reached);
    // A made-up finish is refused, and does not let anybody past the limits.
    for (const [method, path, body] of FINISHES) {
      assert.equal((await daemon.fetch('alice', method, path, body)).status, 404);
      assert.equal((await daemon.fetch(undefined, method, path, body)).status, 401);
    }
    assert.equal((await daemon.fetch('alice', 'GET', '/v1/account')).status, 429);
  });
});
