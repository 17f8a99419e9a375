import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { dutyLock, Records } from '../../src/keeper/records/index.js';
import { Servers } from '../../src/keeper/records/servers.js';
import { openSqlite } from '../../src/keeper/records/sqlite.js';

describe('a database', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bkv-database-'));
  const path = join(folder, 'records.sqlite');
  after(() => rmSync(folder, { recursive: true }));

  const prepare = async () => {
    const records = await Records.open(path);
    await records.prepare().finally(() => records.close());
  };

  it('that a newer version has written is left as it is', async () => {
    await prepare();
    await prepare();
    const newer = openSqlite(path);
    newer.exec("INSERT INTO kysely_migration VALUES ('9 later', '2030-01-01')");
    await assert.rejects(prepare(), {
      code: 'newer-version',
      message: /run that one \(its form is "9 later"\)/,
    });
    assert.equal(newer.prepare('SELECT count(*) AS n FROM kysely_migration').pluck().get(), 5);
    newer.close();
  });

  it('that is no file is refused, and its permissions stay', async () => {
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', ['-m', '666', pipe]);
    await assert.rejects(Records.open(pipe), { code: 'database-failed', message: /it is not a file/ });
    assert.equal(statSync(pipe).mode & 0o777, 0o666);
  });

  it('whose URL holds a password anywhere is refused', async () => {
    for (const url of [
      'postgres://bkv:secret@127.0.0.1:1/bkv',
      'postgres://bkv@127.0.0.1:1/bkv?password=secret',
      'postgres://bkv@127.0.0.1:1,127.0.0.1:2/bkv?sslmode=require&%70assword=secret',
    ])
      await assert.rejects(Records.open(url), { code: 'database-failed', message: /holds a password/ }, url);
  });

  it('whose server hangs is left all the same', async () => {
    const sockets = new Set<Socket>();
    // It lets anybody in, says that it is ready, and then nothing more.
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.add(socket);
      socket.once('data', () => socket.write('R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I')).on('error', () => undefined);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const client = new new Servers(`postgres://bkv@127.0.0.1:${port}/bkv`).Client();
    await client.connect();
    await client.end();
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  it('keeps its handles from the garbage collector, because Node.js 24 aborts when it frees one', async () => {
    const handles = () => {
      const database = openSqlite(':memory:');
      const statement = database.prepare('SELECT 1');
      database.close();
      return [new WeakRef(database), new WeakRef(statement)];
    };
    const references = handles();
    setFlagsFromString('--expose-gc');
    await setImmediate();
    runInNewContext('gc')();
    assert.ok(references.every((reference) => reference.deref()));
  });

  it('that was replaced while it was open is written no more', async () => {
    const other = join(folder, 'other.sqlite');
    const records = await Records.open(other);
    await records.prepare();
    copyFileSync(other, `${other}.copy`);
    renameSync(`${other}.copy`, other);
    await assert.rejects(records.binding(), { code: 'database-failed', message: /was replaced or deleted/ });
    await records.close();
  });

  it('whose journal was deleted while it was open is written no more', async () => {
    const other = join(folder, 'journal.sqlite');
    const records = await Records.open(other);
    rmSync(`${other}-wal`);
    await assert.rejects(records.prepare(), { code: 'database-failed', message: /was replaced or deleted/ });
    await records.close();
  });

  it('that was away during a transaction has what is written once it is back', async () => {
    const other = join(folder, 'away.sqlite');
    const records = await Records.open(other);
    await records.prepare();
    const row = { account: 'alice', cell: 1, generation: 1, sealed: Buffer.alloc(1) };
    await records.put(row);
    const goesAway = Object.assign([row], {
      *[Symbol.iterator]() {
        yield { ...row, generation: 2 };
        renameSync(other, `${other}.away`);
      },
    });
    await assert.rejects(records.replace(goesAway, 1), { code: 'database-failed' });
    renameSync(`${other}.away`, other);
    await records.put({ ...row, account: 'bob' });
    const seen = await Records.open(other);
    assert.equal((await seen.find('bob')).length, 1);
    assert.equal((await seen.find('alice'))[0]?.generation, 1);
    await seen.close();
    await records.close();
  });

  describe('that several daemons take turns at', () => {
    const lockFile = `${path}.leader`;
    const { signal } = new AbortController();
    const take = dutyLock(path);
    /** Resolves when a further daemon stands by. */
    const standsBy = async () => {
      const stopped = new AbortController();
      await new Promise<void>((resolve) => {
        dutyLock(path)(stopped.signal, resolve).catch(() => undefined);
      });
      stopped.abort();
    };

    it('is one daemon’s at a time', async () => {
      const lock = await take(signal, assert.fail);
      await standsBy();
      await lock.release();
      await (await dutyLock(path)(signal, assert.fail)).release();
      await (await take(signal, assert.fail)).release();
    });

    it('is another daemon’s once the file of the lock has gone, which the first one notices', async () => {
      const lock = await take(signal, assert.fail);
      assert.equal(await lock.held(), true);
      rmSync(lockFile);
      const next = await dutyLock(path)(signal, assert.fail);
      await lock.lost;
      assert.deepEqual([await lock.held(), await next.held()], [false, true]);
      await lock.release();
      const waiting = new Promise<void>((resolve) => {
        take(signal, resolve).then((again) => again.release(), assert.fail);
      });
      await waiting;
      await next.release();
    });

    it('is nobody’s if the file of the lock is something else, and that is said', async () => {
      writeFileSync(lockFile, 'x'.repeat(4096));
      await assert.rejects(dutyLock(path)(signal, assert.fail), {
        code: 'database-failed',
        message: /records\.sqlite\.leader, .* file is not a database\. .* delete it while no daemon runs/,
      });
    });
  });
});
