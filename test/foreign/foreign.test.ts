import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from '../../rig/daemon.js';
import { FleetClient, newBackupKey, VaultClient } from '../../src/client/index.js';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Runs a program of this folder with Debian's Python, which has the packages. @throws with its output if it fails */
async function python(program: string, input: object = {}): Promise<string> {
  const child = spawn('/usr/bin/python3', ['-B', `test/foreign/${program}`]);
  let [out, error] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    error += text;
  });
  child.stdin.end(JSON.stringify(input));
  const code = await new Promise((resolve) => child.once('close', resolve));
  assert.equal(code, 0, error);
  return out.trim();
}

describe('a client in Python, written from docs/protocol.md', () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-foreign-'));
  let daemon: Daemon;
  before(async () => {
    daemon = await Daemon.start(work, { config: 'rateLimit: { account: 1000, address: 1000 }\n' });
  });
  after(async () => {
    await daemon.stop();
    rmSync(work, { recursive: true, force: true });
  });

  it('agrees with every vector', async () => {
    assert.equal(await python('vectors.py'), 'ok');
  });

  it('registers, recovers, changes and deletes at one vault, and each client opens what the other registered', async () => {
    const account = 'зоя@example';
    // This client uses Argon2id, which the tests' usual client skips.
    const client = new VaultClient({
      url: daemon.url,
      serverPublicKey: Buffer.from(daemon.serverPublicKey, 'base64url'),
      account,
      accessToken: () => daemon.jwt(account),
    });
    const key = newBackupKey();
    await client.register('e\u0301te\u0301', key);
    const out = await python('life.py', {
      url: daemon.url,
      serverPublicKey: daemon.serverPublicKey,
      account,
      accessToken: await daemon.jwt(account),
      registered: { password: 'été', key: hex(key) },
    });
    assert.equal(out, 'ok');
    assert.equal(hex((await client.recover('left behind')).backupKey), hex(key));
  });

  it('deals, recovers, changes and deletes at a fleet, and each client opens what the other dealt', async () => {
    const account = 'bob';
    const others = [1, 2].map((n) => join(work, String(n)));
    for (const folder of others) mkdirSync(folder);
    const daemons = [daemon, ...(await Promise.all(others.map((folder) => Daemon.start(folder))))];
    try {
      const byUrl = new Map(daemons.map((one) => [one.url, one]));
      const fleet = new FleetClient({
        threshold: 2,
        vaults: await Promise.all(daemons.map((one) => one.fleetEntry())),
        account,
        accessToken: ({ url }) => (byUrl.get(url) as Daemon).jwt(account),
      });
      const key = newBackupKey();
      await fleet.register('purple otter', key);
      const vaults = daemons.map(async (one) => ({
        url: one.url,
        serverPublicKey: one.serverPublicKey,
        accessToken: await one.jwt(account),
      }));
      const input = {
        threshold: 2,
        vaults: await Promise.all(vaults),
        account,
        registered: { password: 'purple otter', key: hex(key) },
      };
      assert.equal(await python('fleet_life.py', input), 'ok');
      const { backupKey, pending, liars } = await fleet.recover('left behind');
      assert.deepEqual([hex(backupKey), pending, liars], [hex(key), [], []]);
    } finally {
      await Promise.all(daemons.slice(1).map((one) => one.stop()));
    }
  });
});
