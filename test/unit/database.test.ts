import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Records } from '../../src/keeper/records/index.js';
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
});
