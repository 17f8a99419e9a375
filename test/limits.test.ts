import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { get } from 'node:http';
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
    assert.equal((await daemon.fetch('alice', 'DELETE', '/v1/recovery/x')).status, 400);
  });

  it('is kept out only where a great many finishes were made up: others cost nothing', async () => {
    const withdraw = async () => {
      const response = await daemon.fetch('carol', 'POST', '/v1/share/withdraw', { dealing: '0'.repeat(32) });
      return Number(/remaining=(\d+)/.exec(response.headers.get('ratelimit') ?? '')?.[1]);
    };
    // The account's own limit refuses from the 31st on.
    const left: number[] = [];
    for (let i = 0; i < 40; i++) left.push(await withdraw());
    assert.equal(left.at(-1), left.at(-5), left.join());
    const [method, path] = FINISHES[1];
    const madeUp = async () => (await daemon.fetch(undefined, method, path)).status;
    const statuses: number[] = [];
    while (statuses.length < 1500 && statuses.at(-1) !== 429)
      statuses.push(...(await Promise.all(Array.from({ length: 20 }, madeUp))));
    assert.equal(statuses.at(-1), 429);
    assert.ok(statuses.filter((status) => status === 401).length > 500);
  });

  it('what is refused is counted by its operation; the log tells of it once a minute, and of a forgotten proxy', async () => {
    const options = { localAddress: '127.0.0.2', headers: { 'x-forwarded-for': '203.0.113.7' } };
    const behindProxy = () =>
      new Promise<number | undefined>((resolve, reject) => {
        get(new URL('/v1/identity', daemon.url), options, (response) => {
          response.resume().once('end', () => resolve(response.statusCode));
        }).once('error', reject);
      });
    while ((await behindProxy()) !== 429);
    assert.equal((await fetch(new URL('/v1/recovery/%zz', daemon.url), { method: 'DELETE' })).status, 400);
    const page = await (await fetch(new URL('/metrics', daemon.admin))).text();
    const count = (operation: string, outcome: string): number =>
      Number(
        new RegExp(`operations_total\\{operation="${operation}",outcome="${outcome}"\\} (\\d+)`).exec(
          page,
        )?.[1],
      );
    assert.ok(count('identity', 'rate-limited') > 0, page);
    assert.ok(count('recoveryAbandon', 'rate-limited') > 0);
    assert.equal(count('none', 'invalid-request'), 1);
    const told = daemon.logs.split('\n').filter((line) => line.includes('has used up its requests'));
    assert.ok(told.length < 10, told.join());
    assert.ok(
      told.some((line) => line.includes('trustedProxies')),
      told.join(),
    );
  });
});
