import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../../src/config/index.js';
import { passwordOf } from '../../src/keeper/records/pgpass.js';
import { Servers } from '../../src/keeper/records/servers.js';

describe('how a PostgreSQL server is reached', () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-pgpass-'));
  const file = join(work, 'pgpass');
  const before = process.env.PGPASSFILE;
  after(() => {
    rmSync(work, { recursive: true, force: true });
    if (before === undefined) delete process.env.PGPASSFILE;
    else process.env.PGPASSFILE = before;
  });
  const target = { host: 'db', port: 5432, database: 'bkv', user: 'bkv' };

  it('a user without a home, such as a service’s, has no password file', function () {
    if (process.getuid?.() !== 0) return this.skip();
    const url = new URL('../../src/process/index.js', import.meta.url);
    const script = `import(${JSON.stringify(url)}).then(({ inHome }) => console.log(inHome('.pgpass')))`;
    const user = ['--reuid=54321', '--regid=54321', '--clear-groups'];
    const { HOME: _, ...env } = process.env;
    const found = execFileSync('setpriv', [...user, process.execPath, '-e', script], {
      env,
      encoding: 'utf8',
    });
    assert.equal(found, 'undefined\n');
  });

  it('the password is that of the first line that matches the connection', () => {
    process.env.PGPASSFILE = file;
    writeFileSync(
      file,
      [
        '# a comment: db:5432:bkv:bkv:no',
        'other:5432:bkv:bkv:no',
        'db:5433:*:*:other port',
        'db:5432:bkv:bkv:with\\:colon\\\\ and:more',
        '*:*:*:*:any',
        'localhost:*:*:me:socket',
      ].join('\n'),
      { mode: 0o600 },
    );
    assert.equal(passwordOf(target), 'with:colon\\ and:more');
    assert.equal(passwordOf({ ...target, port: 5433 }), 'other port');
    assert.equal(passwordOf({ ...target, host: 'x' }), 'any');
    writeFileSync(file, 'localhost:*:*:me:socket\n');
    assert.equal(passwordOf({ ...target, host: '/run/postgresql', user: 'me' }), 'socket');
    assert.equal(passwordOf(target), undefined);
    chmodSync(file, 0o644);
    assert.throws(() => passwordOf(target), /others can read this password file/);
    process.env.PGPASSFILE = join(work, 'none');
    assert.equal(passwordOf(target), undefined);
  });

  it('a URL may name several servers, each with its port', () => {
    const servers = new Servers('postgres://bkv@a,b:5433/bkv?sslmode=require');
    const a = servers.now;
    servers.turnFrom(a);
    const b = servers.now;
    assert.equal(servers.count, 2);
    assert.equal(a.connectionString, 'postgres://bkv@a/bkv?sslmode=require');
    assert.equal(b.connectionString, 'postgres://bkv@b:5433/bkv?sslmode=require');
    // A late report that the first server failed does not turn from the second.
    servers.turnFrom(a);
    assert.equal(servers.now, b);
    servers.turnFrom(b);
    assert.equal(servers.now, a);
    assert.throws(() => new Servers('postgres://bkv:secret@a,b/bkv'), /PGPASSFILE/);
  });
});

describe('what a configuration names as its database', () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-database-'));
  after(() => rmSync(work, { recursive: true, force: true }));
  const databaseOf = (value: string) => {
    const file = join(work, 'bkv.yaml');
    writeFileSync(file, `database: ${value}\n`);
    return loadConfig(file).database;
  };

  it('is PostgreSQL, or a path that looks like one', () => {
    assert.equal(databaseOf('postgres://bkv@a,b/bkv'), 'postgres://bkv@a,b/bkv');
    assert.equal(databaseOf('records.sqlite'), join(work, 'records.sqlite'));
    assert.equal(databaseOf('/var/lib/bkv/records'), '/var/lib/bkv/records');
    for (const value of ['not-a-url', 'mysql://a/b', 'postgres://'])
      assert.throws(() => databaseOf(value), /bkv\.yaml:1: database: must be postgres:/, value);
  });
});
