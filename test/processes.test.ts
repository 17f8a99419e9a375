import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Daemon } from '../rig/daemon.js';
import { isAlive, processesOf } from '../rig/processes.js';
import { discardData, isOpenCryptoki } from '../rig/token.js';
import { prepareEmbedded } from '../src/daemon/embedded.js';
import { makeIssuer } from '../src/daemon/index.js';
import { generateKE1 } from '../src/protocol/index.js';
import { KEEPER_PACKAGES, packagesAmong } from './support/packages.js';
import { preloadWith } from './support/preload.js';
import { ConnectProxy } from './support/proxy.js';

/** What modules, databases and proxies read from the environment: no list of them is complete. */
const SECRETS = { PGPASSWORD: 'secret of the database', VENDOR_API_KEY: 'secret of a module' };

/** The user PIN, which is there before the token is. */
async function pinOf(data: string): Promise<string> {
  if (isOpenCryptoki) return '47114711';
  await prepareEmbedded(data);
  return readFileSync(join(data, 'token-pin'), 'utf8');
}

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

describe('the processes of a daemon', function () {
  this.timeout(120_000);
  const data = mkdtempSync(join(tmpdir(), 'bkv-processes-'));
  const loaded = join(data, 'loaded');
  let daemon: Daemon;
  before(async () => {
    daemon = await Daemon.start(data, {
      config: 'httpWorkers: 2\nrateLimit: { account: 100000, address: 100000 }\n',
      preload: preloadWith('loaded', loaded),
      env: { ...SECRETS, BKV_TOKEN_PIN: await pinOf(data), CREDENTIALS_DIRECTORY: join(data, 'credentials') },
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
    const packages = packagesAmong(files);
    assert.ok(packages.includes('pkcs11js') && packages.includes('jose'), 'the list is not empty');
    assert.deepEqual(
      packages.filter((name) => !KEEPER_PACKAGES.includes(name)),
      [],
    );
    // Native modules are found in the process's memory map, whatever loaded them.
    const native = [
      ...read(keeper as number, 'maps').matchAll(/node_modules\/((?:@[^/]+\/)?[^/]+)\/.*\.node$/gm),
    ];
    assert.deepEqual([...new Set(native.map(([, name]) => name))].sort(), [
      '@koromix/koffi-linux-x64',
      'better-sqlite3',
      'pkcs11js',
    ]);
    const own = files.flatMap((file) => /dist\/src\/(\w+)\//.exec(file)?.[1] ?? []);
    assert.deepEqual([...new Set(own)].sort(), ['cli', 'config', 'keeper', 'process', 'protocol']);
  });

  it('the HTTP side has no module, no PIN and no database', async () => {
    const { keeper, http, admin, workers } = daemon.processes();
    const held = [await pinOf(data), ...Object.values(SECRETS), 'CREDENTIALS_DIRECTORY'];
    const heldBy = (pid: number) =>
      held.filter((secret) => (read(pid, 'environ') + read(pid, 'cmdline')).includes(secret));
    const secrets = /softhsm|pkcs11|opencryptoki|better_sqlite3|records\.sqlite|token-pin|audit\.log/;
    assert.equal(workers.length, 2);
    for (const pid of [http as number, admin as number, ...workers]) {
      assert.doesNotMatch(read(pid, 'maps'), secrets);
      assert.deepEqual(
        openFiles(pid).filter((path) => secrets.test(path)),
        [],
      );
      assert.deepEqual(heldBy(pid), []);
    }
    // The same search finds these in the keeper, so it can find them.
    if (!isOpenCryptoki) assert.match(read(keeper as number, 'maps'), /softhsm/);
    assert.ok(openFiles(keeper as number).some((path) => path.endsWith('records.sqlite')));
    assert.deepEqual(heldBy(keeper as number), held);
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

  it('the metrics of all processes are one page, in which no metric appears twice', async () => {
    let page = '';
    // There is no page while a worker starts, because it would not be complete.
    await until('the page', async () => {
      const response = await fetch(new URL('/metrics', daemon.admin));
      page = await response.text();
      return response.ok;
    });
    const types = [...page.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
    assert.equal(new Set(types).size, types.length);
    for (const name of ['keeper', 'admin', 'http', 'http-worker-1', 'http-worker-2'])
      assert.match(page, new RegExp(`^bkv_process_resident_memory_bytes\\{process="${name}"\\} \\d`, 'm'));
    const samples = page.split('\n').filter((line) => line && !line.startsWith('#'));
    assert.equal(new Set(samples.map((line) => line.replace(/ \S+$/, ''))).size, samples.length);
  });

  it('the client, the log lines of all processes and the audit log have the same id for a request', async () => {
    const { recoveryId } = await (await daemon.prepareRecovery('alice', 'wrong'))();
    const response = await daemon.abandon('alice', recoveryId);
    const id = response.headers.get('x-request-id') as string;
    const messages = () =>
      daemon.logs
        .split('\n')
        .filter((line) => line.includes(id))
        .map((line) => JSON.parse(line).message)
        .sort();
    await until('three lines', () => messages().length === 3);
    assert.deepEqual(messages(), ['attempt failed', 'request', 'request of an account']);
    await until('an entry', () => readFileSync(join(data, 'audit.log'), 'utf8').includes(id));
  });

  it('the admin address answers to its own host names only, and takes a sweep from no other web page', async () => {
    const ask = async (headers: Record<string, string>, body = '{}') =>
      (await fetch(new URL('/shred', daemon.admin), { method: 'POST', headers, body })).status;
    const json = { 'content-type': 'application/json' };
    assert.equal(await ask(json), 200);
    assert.equal(await ask({ ...json, origin: 'http://evil.example' }), 403);
    assert.equal(await ask({ ...json, 'sec-fetch-site': 'cross-site' }), 403);
    assert.equal(await ask({ 'content-type': 'text/plain' }), 415);
  });

  it('an HTTP side that is killed is started again, on the same keeper; SIGHUPs meanwhile end nothing', async () => {
    const { http, keeper } = daemon.processes();
    const before = daemon.logs.length;
    process.kill(http as number, 'SIGKILL');
    await until('the HTTP side', () => {
      daemon.child.kill('SIGHUP');
      return daemon.logs.slice(before).includes('"serving"');
    });
    assert.equal(daemon.processes().keeper, keeper);
    assert.equal(daemon.logs.slice(before).split('is started again').length, 2);
  });
});

/** Debian's user `nobody`, which owns nothing here. */
const NOBODY = 65534;

describe('the processes of a daemon under users of their own', function () {
  this.timeout(120_000);
  const data = mkdtempSync(join(tmpdir(), 'bkv-users-'));
  const sockets = mkdtempSync(join(tmpdir(), 'bkv-sockets-'));
  const parts: ChildProcess[] = [];
  let lines = '';
  const asNobody = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--'];
  const start = (before: readonly string[], command: string, ...flags: string[]) => {
    const [program, ...args] = [...before, process.execPath, 'dist/src/cli/main.js', command, ...flags];
    const part = spawn(program as string, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    part.stderr?.on('data', (text) => {
      lines += text;
    });
    parts.push(part);
  };
  const has = (field: string) => new RegExp(`"${field}":"(http[^"]+)"`).exec(lines)?.[1];

  before(async function () {
    if (process.getuid?.() !== 0) {
      console.error('SKIPPED: only root can start the processes of a daemon under two users');
      return this.skip();
    }
    if (isOpenCryptoki) return this.skip();
    // Folders and modes are those of softhsm/bkv.tmpfiles.conf.
    chmodSync(sockets, 0o755);
    for (const [folder, user, group] of [
      ['api', 0, NOBODY],
      ['http', NOBODY, 0],
    ] as const) {
      mkdirSync(join(sockets, folder));
      chownSync(join(sockets, folder), user, group);
      chmodSync(join(sockets, folder), 0o2750);
    }
    await prepareEmbedded(data);
    await makeIssuer(data);
    chmodSync(data, 0o700);
    const config = join(sockets, 'bkv.yaml');
    writeFileSync(config, 'httpWorkers: 1\n');
    const common = ['--config', config, '--sockets', sockets];
    start([], 'keeper', ...common, '--data', data);
    start(asNobody, 'http', ...common, '--listen', '127.0.0.1:0');
    start([], 'admin', ...common, '--admin', '127.0.0.1:0');
    await until('it serves', () => has('url') !== undefined && has('admin') !== undefined);
  });
  after(async () => {
    await Promise.all(
      parts.map((part) => {
        const ended = once(part, 'exit');
        part.kill('SIGTERM');
        return ended;
      }),
    );
    discardData(data);
    discardData(sockets);
  });

  it('HTTP serves through the socket of the API', async () => {
    assert.equal((await fetch(`${has('url')}/v1/identity`)).status, 200);
    const page = await (await fetch(`${has('admin')}/metrics`)).text();
    for (const name of ['keeper', 'http', 'http-worker-1'])
      assert.match(page, new RegExp(`^bkv_process_resident_memory_bytes\\{process="${name}"\\} \\d`, 'm'));
  });

  it('an HTTP process that was taken over reaches neither the operator’s socket nor PIN, token, database or audit log', () => {
    const attempts = `
      const { connect } = require('node:net');
      const { readFileSync, readdirSync } = require('node:fs');
      const tell = (name, result) => console.log(name + ' ' + result);
      for (const socket of ['api/keeper.sock', 'admin/keeper.sock'])
        connect(process.argv[1] + '/' + socket)
          .on('connect', function () { tell(socket, 'open'); this.destroy(); })
          .on('error', ({ code }) => tell(socket, code));
      for (const file of ['token-pin', 'records.sqlite', 'audit.log', 'tokens'])
        try { readFileSync(process.argv[2] + '/' + file); tell(file, 'open'); } catch ({ code }) { tell(file, code); }
    `;
    const [program, ...args] = [...asNobody, process.execPath, '-e', attempts, sockets, data];
    const found = execFileSync(program as string, args, { encoding: 'utf8' })
      .trim()
      .split('\n')
      .sort();
    assert.deepEqual(found, [
      'admin/keeper.sock EACCES',
      'api/keeper.sock open',
      'audit.log EACCES',
      'records.sqlite EACCES',
      'token-pin EACCES',
      'tokens EACCES',
    ]);
    // The files exist at the paths that were tried.
    for (const path of ['token-pin', 'records.sqlite', 'audit.log', 'tokens'])
      assert.ok(existsSync(join(data, path)));
    assert.ok(existsSync(join(sockets, 'admin/keeper.sock')));
  });
});

describe('a daemon behind a proxy', function () {
  this.timeout(60_000);

  it('fetches the identity provider’s keys through it, and loads undici only then', async () => {
    const data = mkdtempSync(join(tmpdir(), 'bkv-proxied-'));
    const proxy = await ConnectProxy.start();
    const issuer = { jwks: 'https://idp.example/keys', issuer: 'https://idp.example' };
    const daemon = await Daemon.start(data, {
      config: `auth: ${JSON.stringify(issuer)}\n`,
      preload: preloadWith('loaded', join(data, 'loaded')),
      env: { HTTPS_PROXY: proxy.host, NO_PROXY: '' },
    });
    try {
      await makeIssuer(data);
      assert.equal((await daemon.fetch('alice', 'GET', '/v1/account')).status, 503);
      assert.deepEqual(proxy.seen, ['idp.example:443']);
      const { keeper } = daemon.processes();
      const packages = packagesAmong(readFileSync(join(data, `loaded.${keeper}`), 'utf8').split('\n'));
      assert.deepEqual(
        packages.filter((name) => !KEEPER_PACKAGES.includes(name)),
        ['undici'],
      );
    } finally {
      await daemon.stop();
      proxy.close();
      discardData(data);
    }
  });
});

describe('the end of a daemon', function () {
  this.timeout(120_000);
  const data = mkdtempSync(join(tmpdir(), 'bkv-end-'));
  after(() => discardData(data));

  it('a supervisor that is killed leaves no process behind', async () => {
    const daemon = await Daemon.start(data);
    const { all } = daemon.processes();
    assert.equal(all.length, 5);
    daemon.child.kill('SIGKILL');
    await until('all have ended', () => all.every((pid) => !isAlive(pid)));
  });

  it('a process whose supervisor has ended before it began ends too', async () => {
    const child = spawn(process.execPath, ['dist/src/cli/main.js', 'admin', '--sockets', data], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    child.disconnect();
    await until('it has ended', () => !isAlive(child.pid as number));
  });

  it('a keeper that is killed ends the daemon, with its exit code', async () => {
    const daemon = await Daemon.start(data);
    const ended = once(daemon.child, 'exit');
    daemon.signalKeeper('SIGKILL');
    assert.deepEqual(await ended, [137, null]);
  });

  it('cuts off no open recovery, not even on the last attempt; a second signal does', async () => {
    const started = await Daemon.start(data, { config: 'maxAttempts: 2\n' });
    for (const name of ['alice', 'bob']) await started.register(name, 'right');
    await (await started.startRecovery('alice', 'wrong')).abandon();
    const { attemptsRemaining, prove } = await started.startRecovery('alice', 'right');
    assert.equal(attemptsRemaining, 0);
    const ended = started.stop('SIGTERM', { patient: true });
    await started.until(false);
    assert.equal(await (await fetch(new URL('/readyz', started.admin))).text(), 'the vault is stopping\n');
    const refused = await started.fetch('bob', 'POST', '/v1/recovery/start', {
      KE1: Buffer.from(generateKE1(Buffer.from('right')).KE1).toString('base64url'),
    });
    assert.deepEqual([refused.status, refused.headers.get('retry-after')], [503, '2']);
    await prove();
    assert.equal(await ended, 0);

    const again = await Daemon.start(data);
    assert.equal((await again.status('alice')).attemptsRemaining, 2);
    assert.equal((await again.status('bob')).attemptsRemaining, 2);
    for (let i = 0; i < 2; i++) await again.startRecovery('bob', 'right');
    const cutOff = again.stop('SIGTERM', { patient: true });
    await again.until(false);
    assert.equal(await again.stop(), 0);
    assert.equal(await cutOff, 0);
  });

  it('SIGTERM at any moment of the start ends it, with 0 and no process left', async () => {
    for (const ms of [120, 250, 500, 900, 1500, 2500]) {
      const folder = join(data, String(ms));
      const args = [
        'dist/src/cli/main.js',
        'serve',
        '--data',
        folder,
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
      // Before the program's first line, the signal itself ends the process, which then has done nothing.
      const hadBegun = existsSync(join(folder, 'token-pin'));
      assert.ok(code === 0 || (signal === 'SIGTERM' && !hadBegun), `after ${ms} ms: ${code} ${signal}`);
      await until('all have ended', () => all.every((pid) => !isAlive(pid)));
    }
  });
});
