import assert from 'node:assert/strict';
import { chmodSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from '../rig/daemon.js';
import { freshToken, isOpenCryptoki } from '../rig/token.js';
import { rehearseToken } from '../src/keeper/custody/index.js';
import { Records } from '../src/keeper/records/index.js';
import { openSqlite } from '../src/keeper/records/sqlite.js';

const GOLDEN = 'test/golden/first-edition';

/** Data of version 0.1 is refused by an error that says how to go on. It is not changed, so version 0.1 can still use it. */
describe('a vault of version 0.1', () => {
  const data = mkdtempSync(join(tmpdir(), 'bkv-first-'));
  const database = join(data, 'records.sqlite');
  beforeEach(() => {
    cpSync(GOLDEN, data, { recursive: true });
    chmodSync(join(data, 'token-pin'), 0o600);
  });
  after(() => rmSync(data, { recursive: true, force: true }));

  const rows = () => {
    const db = openSqlite(database, { readonly: true });
    try {
      return db.prepare('SELECT * FROM records').all();
    } finally {
      db.close();
    }
  };

  it('is not taken over: token and database are left as they are', async function () {
    if (isOpenCryptoki) this.skip();
    const before = rows();
    const [token] = readdirSync(join(data, 'tokens')) as [string];
    const objects = () =>
      Object.fromEntries(
        readdirSync(join(data, 'tokens', token))
          .filter((name) => name.endsWith('.object') && name !== 'token.object')
          .map((name) => [name, readFileSync(join(data, 'tokens', token, name)).toString('base64')]),
      );
    const held = objects();
    await assert.rejects(
      Daemon.start(data),
      /ended with 78: .*made by version 0\.1.*Nothing was changed.*"From version 0\.1"/s,
    );
    assert.deepEqual([objects(), rows()], [held, before]);
  });

  it('has a database that no token of this version takes over unless it is empty', async () => {
    const before = rows();
    assert.equal(before.length, 2);
    const records = await Records.open(database);
    try {
      await assert.rejects(records.prepare(), { code: 'older-version', message: /records of version 0\.1/ });
      assert.deepEqual(rows(), before);
    } finally {
      await records.close();
    }
    const emptied = openSqlite(database);
    emptied.exec('DELETE FROM records');
    emptied.close();
    const empty = await Records.open(database);
    await empty.prepare();
    assert.equal(await empty.count(), 0);
    await empty.close();
  });

  it('has backups of its token that only that version reads', () => {
    for (const format of ['bkv token backup v1', 'bkv token backup v2'])
      assert.throws(() => rehearseToken(freshToken(), JSON.stringify({ format, content: {}, mac: '' })), {
        code: 'no-backup',
        message: /has version [12], .* use the program that made it, version 0\.1/,
      });
  });
});
