import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomStream, seed } from '../rig/random.js';
import { proxy, s3 as s3Service, webDav } from '../rig/servers.js';
import { formatKey, newBackupKey } from '../src/client/index.js';

const bytes = randomStream(seed);
const random = (): number => bytes(4).readUInt32BE() / 2 ** 32;

/** A proxy that fails every seventh request, with an answer of 503 or a cut connection. */
async function flaky(port: number) {
  let failed = 0;
  const { server, port: by } = await proxy(port, (incoming, outgoing, pass) => {
    const luck = random();
    if (luck >= 0.15) return pass();
    failed++;
    if (luck < 0.07) incoming.socket.destroy();
    else {
      incoming.resume();
      outgoing.writeHead(503).end();
    }
  });
  return { proxy: server, port: by, failed: () => failed };
}

describe(`storages (BKV_SEED=${seed})`, () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-storage-'));
  const source = join(work, 'source');
  const keyFile = join(work, 'key');
  const children: ChildProcess[] = [];
  const proxies: Server[] = [];
  const dav = { BKV_WEBDAV_USER: 'alice', BKV_WEBDAV_PASSWORD: 'dav-password' };
  const s3 = { AWS_ACCESS_KEY_ID: 'S3RVER', AWS_SECRET_ACCESS_KEY: 'S3RVER', AWS_ENDPOINT_URL: '' };
  const rclone = { RCLONE_CONFIG: join(work, 'rclone.conf') };
  let env: NodeJS.ProcessEnv;
  let davPort: number;

  const bkv = (...args: string[]) => {
    const [command = '', ...rest] = args;
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ['dist/src/cli/main.js', command, ...rest, '--key-file', keyFile],
      { encoding: 'utf8', env },
    );
    return { status, stdout, stderr };
  };
  const well = (...args: string[]): string => {
    const { status, stdout, stderr } = bkv(...args);
    assert.equal(status, 0, `${args.join(' ')}: ${stdout}${stderr}`);
    return stdout;
  };

  before(async () => {
    mkdirSync(join(source, 'pictures'), { recursive: true });
    for (let i = 0; i < 40; i++) writeFileSync(join(source, 'pictures', `${i}.jpg`), bytes(30_000));
    writeFileSync(join(source, 'video.mp4'), bytes(9_000_000));
    writeFileSync(keyFile, formatKey(newBackupKey()));
    for (const folder of ['dav/taken', 's3', 'drive', 'taken'])
      mkdirSync(join(work, folder), { recursive: true });
    const [davServer, port] = await webDav(join(work, 'dav'), dav.BKV_WEBDAV_USER, dav.BKV_WEBDAV_PASSWORD);
    davPort = port;
    const [s3Server, s3Port] = await s3Service(join(work, 's3'), ['backups', 'taken']);
    children.push(davServer, s3Server);
    s3.AWS_ENDPOINT_URL = `http://127.0.0.1:${s3Port}`;
    writeFileSync(rclone.RCLONE_CONFIG, `[drive]\ntype = alias\nremote = ${join(work, 'drive')}\n`);
    env = { ...process.env, ...dav, ...s3, ...rclone, XDG_STATE_HOME: join(work, 'state') };
  });
  after(() => {
    for (const child of children) child.kill();
    for (const proxy of proxies) proxy.close();
    rmSync(work, { recursive: true, force: true });
  });

  const stored = (below: string): number =>
    readdirSync(below, { recursive: true, encoding: 'utf8' }).filter((name) => /[0-9a-f]{64}/.test(name))
      .length;

  for (const [name, location, folder] of [
    ['a folder', () => join(work, 'folder'), 'folder'],
    ['WebDAV', () => `http://127.0.0.1:${davPort}/mine`, 'dav'],
    ['S3', () => 's3://backups/mine', 's3'],
    ['rclone', () => 'rclone:drive:backups/mine', 'drive'],
  ] as const)
    it(`${name}: backs up, adds what changed, verifies, restores, prunes`, () => {
      const at = location();
      assert.match(well('backup', source, at), /41 files .* 41 new or changed/);
      const first = stored(join(work, folder));
      appendFileSync(join(source, 'pictures', '0.jpg'), name);
      assert.match(well('backup', source, at), /41 files .* 1 new or changed/);
      assert.ok(stored(join(work, folder)) > first);
      assert.equal(well('snapshots', at).split('\n').length, 3);
      assert.match(well('verify', at), /all is well/);
      const restored = join(work, `restored from ${name}`);
      well('restore', at, restored);
      assert.equal(spawnSync('diff', ['-r', source, restored]).status, 0);
      assert.match(well('prune', at, '--keep', '1'), /1 snapshot,/);
      assert.equal(well('snapshots', at).split('\n').length, 2);
      const another = bkv('restore', `${at}-not-there`, join(work, 'x'));
      assert.equal(another.status, 1);
      assert.match(another.stderr, /is not a backup/);
    });

  for (const [name, location] of [
    ['a folder', () => join(work, 'taken')],
    ['WebDAV', () => `http://127.0.0.1:${davPort}/taken`],
    ['S3', () => 's3://taken'],
    ['S3 under a prefix', () => 's3://backups/pictures'],
  ] as const)
    it(`${name}: begins no backup in a place that holds other things`, () => {
      well('backup', source, `${location()}/other`);
      const { status, stderr } = bkv('backup', source, location());
      assert.equal(status, 1);
      assert.match(stderr, /not empty and not a backup/);
    });

  it('goes on when requests fail', async () => {
    const { proxy, port, failed } = await flaky(davPort);
    proxies.push(proxy);
    const at = `http://127.0.0.1:${port}/flaky`;
    const run = async (...args: string[]) => {
      const child = spawn(process.execPath, ['dist/src/cli/main.js', ...args, '--key-file', keyFile], {
        env,
      });
      let said = '';
      child.stderr.on('data', (text) => {
        said += text;
      });
      const code = await new Promise<number | null>((resolve) => child.once('exit', resolve));
      return `${code} ${said}`;
    };
    assert.equal(await run('backup', source, at), '0 ');
    assert.ok(failed() > 0);
    assert.equal(await run('restore', at, join(work, 'restored')), '0 ');
    assert.equal(spawnSync('diff', ['-r', source, join(work, 'restored')]).status, 0);
  }).timeout(120_000);

  it('says what is wrong when it cannot be used, and shows no password', () => {
    const cases: [string, NodeJS.ProcessEnv, RegExp][] = [
      [`http://127.0.0.1:${davPort}/x`, { BKV_WEBDAV_PASSWORD: 'wrong-password' }, /401/],
      [`http://alice:secret@127.0.0.1:${davPort}/x`, {}, /use variables/],
      [`http://127.0.0.1:${davPort}/no/such`, {}, /the folder above it/],
      ['s3://backups', { AWS_ACCESS_KEY_ID: 'nobody' }, /403|InvalidAccessKeyId/],
      ['s3://backups', { AWS_ACCESS_KEY_ID: '' }, /needs AWS_ACCESS_KEY_ID/],
      ['rclone:nowhere:x', {}, /nowhere/],
      ['https://[', {}, /is not an address; write/],
    ];
    const usual = env;
    for (const [location, change, said] of cases) {
      env = { ...usual, ...change };
      const { status, stderr } = bkv('backup', source, location);
      assert.equal(status, 1, location);
      assert.match(stderr, said);
      assert.doesNotMatch(stderr, /wrong-password|secret/);
    }
    env = usual;
  });

  it('rclone gets no access token and no password of other storages', () => {
    const programs = join(work, 'programs');
    mkdirSync(programs);
    const told = '#!/bin/sh\nenv | grep -o "^BKV_[A-Z_]*" >&2 || echo none >&2\n';
    writeFileSync(join(programs, 'rclone'), told, { mode: 0o755 });
    const usual = env;
    env = { ...usual, BKV_ACCESS_TOKEN: 'x', PATH: `${programs}:${process.env.PATH}` };
    assert.match(bkv('backup', source, 'rclone:drive:x').stderr, /rclone ended: none/);
    env = usual;
  });
});
