import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import pg from 'pg';
import { Daemon, type StartOptions } from '../rig/daemon.js';
import { type Binding, Records } from '../src/keeper/records/index.js';
import { POSTGRES_PACKAGES, packagesAmong } from './support/packages.js';
import { PgBouncer, Postgres } from './support/postgres.js';
import { preloadWith } from './support/preload.js';

const MAX = 10;

describe('several daemons on one PostgreSQL database and one token', function () {
  this.timeout(120_000);
  const data = mkdtempSync(join(tmpdir(), 'bkv-standby-'));
  const daemons = new Set<Daemon>();
  let postgres: Postgres;
  let first: Daemon;
  let second: Daemon;

  const start = async (options: Omit<StartOptions, 'config'> = {}): Promise<Daemon> => {
    const config = `database: ${postgres.url}\nrateLimit: { account: 100000, address: 100000 }\n`;
    const daemon = await Daemon.start(data, { ...options, config });
    daemons.add(daemon);
    return daemon;
  };
  const query = async (sql: string) => {
    const client = new pg.Client(postgres.url);
    await client.connect();
    const { rows } = await client.query(sql);
    await client.end();
    return rows;
  };
  /** Waits until one of the daemons is on duty. */
  const onDuty = async (...candidates: Daemon[]): Promise<Daemon> => {
    const begun = performance.now();
    for (;;) {
      for (const daemon of candidates) if (await daemon.ready()) return daemon;
      assert.ok(performance.now() - begun < 20_000, `none took over: ${candidates[0]?.logs.slice(-1500)}`);
      await setTimeout(50);
    }
  };
  const remaining = async (daemon: Daemon, account: string) => {
    const status = await daemon.status(account);
    assert.ok('attemptsRemaining' in status, JSON.stringify(status));
    return status.attemptsRemaining;
  };
  const opens = async (daemon: Daemon, account: string) =>
    (await daemon.startRecovery(account, 'right')).prove();

  before(async () => {
    postgres = await Postgres.start();
    mkdirSync(data, { recursive: true });
    first = await start({
      preload: preloadWith('loaded', join(data, 'loaded')),
    });
    second = await start();
  });
  after(async () => {
    await Promise.all([...daemons].map((daemon) => daemon.stop('SIGKILL')));
    await postgres.stop();
    rmSync(data, { recursive: true, force: true });
  });

  it('the keeper loads these packages and no others', () => {
    const files = readFileSync(join(data, `loaded.${first.processes().keeper}`), 'utf8').split('\n');
    const packages = packagesAmong(files);
    assert.ok(packages.includes('pg'));
    assert.deepEqual(
      packages.filter((name) => !POSTGRES_PACKAGES.includes(name)),
      [],
    );
  });

  it('one answers, the other stands by and says so', async () => {
    assert.deepEqual([await first.ready(), await second.ready()], [true, false]);
    assert.match(await (await fetch(new URL('/readyz', second.admin))).text(), /standing by/);
    const identityOf = async (daemon: Daemon) =>
      (await daemon.fetch(undefined, 'GET', '/v1/identity')).json();
    assert.deepEqual(await identityOf(second), await identityOf(first));
    await first.register('alice', 'right');
    const refused = await second.fetch('alice', 'GET', '/v1/account');
    assert.equal(refused.status, 503);
    assert.ok(Number(refused.headers.get('retry-after')) > 0);
    await opens(first, 'alice');
  });

  it('hands over when killed under load; no attempt comes back and no registration is lost', async () => {
    const registered: string[] = [];
    for (let round = 0; round < 3; round++) {
      const victim = `victim-${round}`;
      await first.register(victim, 'right');
      let evaluated = 0;
      const [writer, standby] = [first, second];
      let busy = true;
      const ignore = () => undefined;
      const lanes = Array.from({ length: 6 }, async (_, lane) => {
        for (let i = 0; busy; i++) {
          const account = `user-${round}-${lane}-${i}`;
          await writer.register(account, 'right').then(() => registered.push(account), ignore);
          if (lane > 0 || i > 7) continue;
          await writer.startRecovery(victim, 'wrong').then(() => {
            evaluated++;
          }, ignore);
        }
      });
      while (evaluated < 2 || registered.length < 12 * (round + 1)) await setTimeout(20);
      await writer.stop('SIGKILL');
      await onDuty(standby);
      busy = false;
      await Promise.all(lanes);
      const left = await remaining(standby, victim);
      assert.ok(
        left <= MAX - evaluated,
        `${victim} has ${left} attempts left after ${evaluated}: ${standby.logs.slice(-2500)}`,
      );
      first = standby;
      second = await start();
    }
    assert.ok(registered.length > 30, `only ${registered.length} registrations`);
    for (const account of registered) await opens(first, account);
  });

  it('a writer that was stopped, lost the database and wakes up later answers nothing more', async () => {
    await first.register('zombie', 'right');
    await (await first.startRecovery('zombie', 'wrong')).abandon();
    first.signalKeeper('SIGSTOP');
    const late = Array.from({ length: 12 }, () => first.startRecovery('zombie', 'wrong'));
    await query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bkv'");
    await onDuty(second);
    let evaluated = 1;
    for (let i = 0; i < 5; i++) {
      await second.startRecovery('zombie', 'wrong');
      evaluated++;
    }
    first.signalKeeper('SIGCONT');
    for (const result of await Promise.allSettled(late)) if (result.status === 'fulfilled') evaluated++;
    assert.equal(evaluated, 6, 'the old writer evaluated');
    assert.equal(await remaining(second, 'zombie'), MAX - 6);
    await opens(second, 'zombie');
    assert.deepEqual([await first.ready(), await second.ready()], [false, true]);
    [first, second] = [second, first];
  });

  it('goes on after the database crashed', async () => {
    await first.register('dora', 'right');
    await (await first.startRecovery('dora', 'wrong')).abandon();
    await postgres.restart();
    const daemon = await onDuty(first, second);
    assert.equal(await remaining(daemon, 'dora'), MAX - 1);
    await opens(daemon, 'dora');
    await daemon.register('eve', 'right');
    await opens(daemon, 'eve');
  });

  it('moves records to a fresh wrapping key as on SQLite', async () => {
    const daemon = await onDuty(first, second);
    await daemon.fetch('dora', 'DELETE', '/v1/account');
    const [page] = await daemon.shred();
    assert.deepEqual([page?.lost, page?.done], [0, true]);
    await opens(daemon, 'eve');
    await opens(daemon, 'alice');
  });

  it('behind PgBouncer in transaction mode, one leads and the other stands by; statement mode is refused', async function () {
    if (!PgBouncer.isInstalled) return this.skip();
    const pooler = await PgBouncer.start(postgres);
    const folder = mkdtempSync(join(tmpdir(), 'bkv-pooled-'));
    const behind = async () => {
      const daemon = await Daemon.start(folder, { config: `database: ${pooler.url}\n` });
      daemons.add(daemon);
      return daemon;
    };
    try {
      await query('CREATE DATABASE pooled');
      const [one, other] = [await behind(), await behind()];
      assert.deepEqual([await one.ready(), await other.ready()], [true, false]);
      await Promise.all(Array.from({ length: 12 }, (_, i) => one.register(`pooled-${i}`, 'right')));
      await setTimeout(3000);
      assert.deepEqual([await one.ready(), await other.ready()], [true, false]);
      await one.stop('SIGKILL');
      await onDuty(other);
      await opens(other, 'pooled-3');
      await other.stop();
      pooler.mode('statement');
      await assert.rejects(behind(), /PgBouncer before the database is in statement mode/);
    } finally {
      await pooler.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('of several servers in the URL, it uses one that takes writes', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'bkv-hosts-'));
    await query('CREATE DATABASE hosts');
    const url = `postgres://bkv@127.0.0.1:1,127.0.0.1:${postgres.port}/hosts`;
    const daemon = await Daemon.start(folder, { config: `database: ${url}\n` });
    await daemon.register('alice', 'right');
    await opens(daemon, 'alice');
    assert.doesNotMatch(daemon.logs, /DeprecationWarning/);
    await daemon.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it('refuses a password in the URL, and a database that could lose what it acknowledged', async () => {
    const other = mkdtempSync(join(tmpdir(), 'bkv-refused-'));
    const refused = (url: string) => Daemon.start(other, { config: `database: ${url}\n` });
    await assert.rejects(
      refused('postgres://bkv:hunter2@localhost/postgres'),
      (error: Error) => /PGPASSFILE/.test(error.message) && !/hunter2/.test(error.message),
    );
    await query("ALTER ROLE bkv SET synchronous_commit = 'off'");
    await assert.rejects(refused(postgres.url), /synchronous_commit = off/);
    await query('ALTER ROLE bkv RESET synchronous_commit');
    // A connection that is made later is checked too: after a fail-over it is to another server.
    const records = await Records.open(`${postgres.url}&application_name=later`);
    await records.prepare();
    await query("ALTER ROLE bkv SET synchronous_commit = 'off'");
    await query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'later'");
    const failure = () => records.count().then(String, ({ message }: Error) => message);
    while (!/synchronous_commit = off/.test(await failure())) await setTimeout(10);
    await query('ALTER ROLE bkv RESET synchronous_commit');
    await records.count();
    await records.close();
    rmSync(other, { recursive: true, force: true });
  });

  it('a daemon on another database that takes the token ends the one that had it', async () => {
    const daemon = await onDuty(first, second);
    const ended = new Promise((resolve) =>
      daemon.child.once('exit', (code, signal) => resolve(code ?? signal)),
    );
    const elsewhere = { config: 'rateLimit: { account: 1000, address: 1000 }\n' };
    await assert.rejects(Daemon.start(data, elsewhere), /but the database is empty/);
    await opens(daemon, 'alice');
    // A database file that is bound to this vault, like an old copy of its database.
    const copy = await Records.open(join(data, 'records.sqlite'));
    await copy.prepare();
    const records = await Records.open(postgres.url);
    await copy.bind((await records.binding()) as Binding);
    await records.close();
    await copy.close();
    const other = await Daemon.start(data, elsewhere);
    daemons.add(other);
    await daemon.startRecovery('alice', 'wrong').catch(() => undefined);
    assert.equal(await ended, 78);
    assert.match(daemon.logs, /each vault needs a token of its own/);
  });
});
