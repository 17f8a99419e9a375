import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Daemon } from './support/daemon.js';
import { isAlive, processesOf } from './support/processes.js';
import { discardData, isOpenCryptoki } from './support/token.js';

const read = (pid: number, file: string): string => readFileSync(`/proc/${pid}/${file}`, 'utf8');
const openFiles = (pid: number): string[] =>
  readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return [];
    }
  });
const until = async (what: string, holds: () => boolean | Promise<boolean>): Promise<void> => {
  for (let i = 0; i < 400; i++) {
    if (await holds()) return;
    await setTimeout(50);
  }
  assert.fail(`not in time: ${what}`);
};

/** What may run beside a token that is logged in. Whoever adds a package here says why. */
const KEEPER_PACKAGES = [
  '@noble/curves',
  '@noble/hashes',
  'better-sqlite3',
  'bindings',
  'file-uri-to-path',
  'graphene-pk11',
  'jose',
  'kysely',
  'pg',
  'pg-cloudflare',
  'pg-connection-string',
  'pg-int8',
  'pg-pool',
  'pg-protocol',
  'pg-types',
  'pgpass',
  'pkcs11js',
  'postgres-array',
  'postgres-bytea',
  'postgres-date',
  'postgres-interval',
  'split2',
  'tslib',
  'xtend',
  'yaml',
];

describe('the processes of a daemon', function () {
  this.timeout(120_000);
  const data = mkdtempSync(join(tmpdir(), 'bkv-processes-'));
  const loaded = join(data, 'loaded');
  let daemon: Daemon;
  before(async () => {
    daemon = await Daemon.start(data, {
      config: 'httpWorkers: 2\nrateLimit: { account: 100000, address: 100000 }\n',
      preload: join(process.cwd(), 'dist/test/support/loaded.js'),
      env: { BKV_LOADED: loaded },
    });
    await daemon.register('alice', 'right');
    await (await daemon.startRecovery('alice', 'right')).prove();
  });
  after(async () => {
    await daemon.stop();
    discardData(data);
  });

  it('the keeper loads these packages and no others', () => {
    const { keeper } = daemon.processes();
    const files = readFileSync(`${loaded}.${keeper}`, 'utf8').split('\n');
    const packages = new Set(
      files.flatMap((file) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? []),
    );
    assert.ok(packages.has('pkcs11js') && packages.has('jose'), 'the list is not empty');
    assert.deepEqual([...packages].filter((name) => !KEEPER_PACKAGES.includes(name)).sort(), []);
    // Native code is seen in the process itself, whoever loaded it.
    const native = [
      ...read(keeper as number, 'maps').matchAll(/node_modules\/((?:@[^/]+\/)?[^/]+)\/.*\.node$/gm),
    ];
    assert.deepEqual([...new Set(native.map(([, name]) => name))].sort(), ['better-sqlite3', 'pkcs11js']);
    const own = files.flatMap((file) => /dist\/src\/(\w+)\//.exec(file)?.[1] ?? []);
    assert.deepEqual([...new Set(own)].sort(), ['cli', 'config', 'keeper', 'process', 'protocol']);
  });

  it('the HTTP side has no module, no PIN and no database', () => {
    const { keeper, http, workers } = daemon.processes();
    const secrets = /softhsm|pkcs11|opencryptoki|better_sqlite3|records\.sqlite|token-pin|audit\.log/;
    assert.equal(workers.length, 2);
    for (const pid of [http as number, ...workers]) {
      assert.doesNotMatch(read(pid, 'maps'), secrets);
      assert.deepEqual(
        openFiles(pid).filter((path) => secrets.test(path)),
        [],
      );
      const pin = isOpenCryptoki ? '47114711' : readFileSync(join(data, 'token-pin'), 'utf8');
      assert.ok(!read(pid, 'environ').includes(pin) && !read(pid, 'cmdline').includes(pin));
    }
    // The search finds what it looks for, where that is.
    if (!isOpenCryptoki) assert.match(read(keeper as number, 'maps'), /softhsm/);
    assert.ok(openFiles(keeper as number).some((path) => path.endsWith('records.sqlite')));
  });

  it('no process leaves a core dump', () => {
    for (const pid of daemon.processes().all) assert.match(read(pid, 'limits'), /Max core file size +0 +0 /);
  });

  it('an HTTP worker that dies is started again; the others answer meanwhile', async () => {
    for (const worker of daemon.processes().workers) {
      process.kill(worker, 'SIGKILL');
      await until('two workers', () => {
        const { workers } = daemon.processes();
        return workers.length === 2 && !workers.includes(worker);
      });
      const recover = async () => (await daemon.startRecovery('alice', 'right')).prove();
      await until('an answer', () =>
        recover().then(
          () => true,
          () => false,
        ),
      );
    }
  });

  it('the metrics of all are one page, in which no metric stands twice', async () => {
    let page = '';
    // While a worker is being started the page is not whole, and not given.
    await until('the page', async () => {
      const response = await fetch(new URL('/metrics', daemon.admin));
      page = await response.text();
      return response.ok;
    });
    const types = [...page.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
    assert.equal(new Set(types).size, types.length);
    for (const name of ['keeper', 'http', 'http-worker-1', 'http-worker-2'])
      assert.match(page, new RegExp(`^bkv_process_resident_memory_bytes\\{process="${name}"\\} \\d`, 'm'));
    const samples = page.split('\n').filter((line) => line && !line.startsWith('#'));
    assert.equal(new Set(samples.map((line) => line.replace(/ \S+$/, ''))).size, samples.length);
  });

  it('the admin address answers to its own names only, and takes a sweep from no other page', async () => {
    const ask = async (headers: Record<string, string>, body = '{}') =>
      (await fetch(new URL('/shred', daemon.admin), { method: 'POST', headers, body })).status;
    const json = { 'content-type': 'application/json' };
    assert.equal(await ask(json), 200);
    assert.equal(await ask({ ...json, origin: 'http://evil.example' }), 403);
    assert.equal(await ask({ ...json, 'sec-fetch-site': 'cross-site' }), 403);
    assert.equal(await ask({ 'content-type': 'text/plain' }), 415);
  });

  it('an HTTP side that is killed is started again, on the same keeper', async () => {
    const { http, keeper } = daemon.processes();
    process.kill(http as number, 'SIGKILL');
    await until('the HTTP side', () => {
      const now = daemon.processes();
      return now.http !== undefined && now.http !== http && now.keeper === keeper;
    });
  });
});

describe('the end of a daemon', function () {
  this.timeout(120_000);
  const data = mkdtempSync(join(tmpdir(), 'bkv-end-'));
  after(() => discardData(data));

  it('a supervisor that is killed leaves no process behind', async () => {
    const daemon = await Daemon.start(data);
    const { all } = daemon.processes();
    assert.equal(all.length, 4);
    daemon.child.kill('SIGKILL');
    await until('all have ended', () => all.every((pid) => !isAlive(pid)));
  });

  it('a keeper that is killed ends the daemon, with its exit code', async () => {
    const daemon = await Daemon.start(data);
    const ended = once(daemon.child, 'exit');
    daemon.signalKeeper('SIGKILL');
    assert.deepEqual(await ended, [137, null]);
  });

  it('SIGTERM at any moment of the start ends it, with 0 and no process left', async () => {
    for (const ms of [120, 250, 500, 900, 1500, 2500]) {
      const args = [
        'dist/src/cli/main.js',
        'serve',
        '--data',
        data,
        '--listen',
        '127.0.0.1:0',
        '--admin',
        '127.0.0.1:0',
      ];
      const { SOFTHSM2_CONF: _, BKV_TOKEN_PIN: __, ...env } = process.env;
      const child = spawn(process.execPath, args, { env, stdio: 'ignore' });
      const ended = once(child, 'exit');
      await setTimeout(ms);
      const { all } = processesOf(child.pid as number);
      child.kill('SIGTERM');
      const [code, signal] = await ended;
      // Before a process has come to the first line of its program, the signal itself ends it.
      assert.ok(code === 0 || (ms < 500 && signal === 'SIGTERM'), `after ${ms} ms: ${code} ${signal}`);
      await until('all have ended', () => all.every((pid) => !isAlive(pid)));
    }
  });
});
