import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon, type HttpFailure } from '../rig/daemon.js';
import { openSqlite } from '../src/keeper/records/sqlite.js';

const config = 'maxAttempts: 3\nexchangeSeconds: 2\nrateLimit: { account: 1000, address: 100000 }\n';
const pageKeys = (daemon: Daemon): string[] =>
  daemon.objects().filter((label) => label.startsWith('bkv.page.'));

describe('page keys are destroyed while the vault serves', () => {
  const data = mkdtempSync(join(tmpdir(), 'bkv-shred-'));
  let daemon: Daemon;
  const opens = async (account: string): Promise<void> => {
    await (await daemon.startRecovery(account, 'right')).prove();
  };
  const status = async (account: string) => {
    const { state, attemptsRemaining } = await daemon.status(account);
    return attemptsRemaining === undefined ? { state } : { state, attemptsRemaining };
  };
  const database = () => openSqlite(join(data, 'records.sqlite'));
  const take = async (account: string) =>
    database()
      .prepare('SELECT * FROM records WHERE account = ?')
      .get(await daemon.nameOf(account)) as Record<string, unknown>;
  const put = (row: Record<string, unknown>) =>
    database()
      .prepare(`INSERT OR REPLACE INTO records VALUES (${Object.keys(row).map((name) => `@${name}`)})`)
      .run(row);
  before(async () => {
    daemon = await Daemon.start(data, { config });
  });
  after(async () => {
    await daemon.stop();
    rmSync(data, { recursive: true, force: true });
  });

  it('moves living accounts with their counters, and makes ended ones unreadable in every copy of the database', async () => {
    for (const account of ['alice', 'bob', 'carol']) await daemon.register(account, 'right');
    assert.deepEqual(await daemon.shred(), [], 'no account has ended');
    await (await daemon.startRecovery('alice', 'wrong')).abandon();
    for (let i = 0; i < 3; i++) await (await daemon.startRecovery('bob', 'wrong')).abandon();
    const carol = await take('carol');
    await daemon.fetch('carol', 'DELETE', '/v1/account');
    const [before] = pageKeys(daemon);

    // A recovery is open when the sweep begins. It is proven meanwhile, and then another attempt is made.
    const open = await daemon.startRecovery('alice', 'right');
    const sweep = daemon.shred();
    await new Promise((resolve) => setTimeout(resolve, 300));
    await open.prove();
    await (await daemon.startRecovery('alice', 'wrong')).abandon();
    assert.deepEqual(await sweep, [{ page: 0, moved: 1, lost: 0, done: true }]);

    const keys = pageKeys(daemon);
    assert.equal(keys.length, 1);
    assert.notEqual(keys[0], before);
    assert.equal((await status('alice')).attemptsRemaining, 2);
    assert.deepEqual(await status('bob'), { state: 'locked', attemptsRemaining: 0 });
    put(carol);
    assert.deepEqual(await status('carol'), { state: 'unregistered' });
    // The ended account's row is put at the place of a living one, in the page's new generation. No key is left that opens it.
    const { cell, generation } = await take('alice');
    put({ ...carol, cell, generation });
    assert.deepEqual(await status('carol'), { state: 'unregistered' });
    assert.ok((await daemon.metric('bkv_tampered_records_total')) > 0);
    await opens('alice');
    await daemon.stop('SIGKILL');
    daemon = await Daemon.start(data, { config });
    await opens('alice');
    assert.deepEqual(await status('bob'), { state: 'locked', attemptsRemaining: 0 });
  });

  it('is reported to the operator by bkv token shred', async () => {
    const shred = (admin: string, ...flags: string[]) => {
      const args = ['dist/src/cli/main.js', 'token', 'shred', '--admin', admin, ...flags];
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      return { status, said: stdout + stderr };
    };
    const { host } = new URL(daemon.admin);
    await daemon.register('dora', 'right');
    await daemon.fetch('dora', 'DELETE', '/v1/account');
    assert.deepEqual(shred(host), {
      status: 0,
      said: 'page 0: 1 records moved, the old key is destroyed\n',
    });
    assert.deepEqual(shred(host), { status: 0, said: 'no account has ended since the last time\n' });
    assert.deepEqual(JSON.parse(shred(host, '--json').said), { whole: true, lost: 0, pages: [] });
    const { status, said } = shred('127.0.0.1:1');
    assert.equal(status, 2);
    assert.match(said, /no vault answers on 127\.0\.0\.1:1/);
  });

  it('works under load: no recovery and no registration fails because of it', async () => {
    const accounts = Array.from({ length: 30 }, (_, i) => `load-${i}`);
    for (const account of accounts) await daemon.register(account, 'right');
    let busy = true;
    let done = 0;
    const load = Promise.all(
      [0, 1, 2, 3].map(async (lane) => {
        for (let i = lane; busy; i += 4) {
          const account = accounts[i % accounts.length] as string;
          if (i % 3 === 0) await daemon.register(account, 'right');
          else await opens(account);
          done++;
        }
      }),
    );
    for (let i = 0; i < 3; i++) {
      const [page] = await daemon.shred({ all: true });
      assert.deepEqual([page?.lost, page?.done], [0, true]);
    }
    busy = false;
    await load;
    assert.ok(done > 20, `${done} operations while the keys were changed`);
    for (const account of accounts) await opens(account);
    assert.equal(pageKeys(daemon).length, 1);
  });

  it('keeps the old key while the database lacks the record of a live counter', async () => {
    await daemon.register('dave', 'right');
    const dave = await take('dave');
    database()
      .prepare('DELETE FROM records WHERE account = ?')
      .run(await daemon.nameOf('dave'));
    const [kept] = await daemon.shred({ all: true });
    assert.deepEqual([kept?.lost, kept?.done], [1, false]);
    assert.equal(pageKeys(daemon).length, 2);
    assert.equal(await daemon.metric('bkv_lost_records'), 1);
    await opens('alice');
    put(dave);
    await opens('dave');
    const [done] = await daemon.shred();
    assert.deepEqual([done?.moved, done?.lost, done?.done], [1, 0, true]);
    await opens('dave');

    database()
      .prepare('DELETE FROM records WHERE account = ?')
      .run(await daemon.nameOf('dave'));
    await daemon.shred({ all: true });
    const [given] = await daemon.shred({ abandonLost: true });
    assert.deepEqual([given?.lost, given?.done], [1, true]);
    assert.equal(pageKeys(daemon).length, 1);
    assert.equal(await daemon.metric('bkv_lost_records'), 0);
    await opens('alice');
  });

  it('serves neither of an account’s two rows if the old one was hidden from the registration that replaced it', async () => {
    await daemon.register('frank', 'old');
    const old = await take('frank');
    database()
      .prepare('DELETE FROM records WHERE account = ?')
      .run(await daemon.nameOf('frank'));
    await daemon.register('frank', 'right');
    put(old);
    const before = await daemon.metric('bkv_tampered_records_total');
    await assert.rejects(opens('frank'), (error: HttpFailure) => error.status === 503);
    assert.equal((await daemon.metric('bkv_tampered_records_total')) - before, 2);
    await daemon.register('frank', 'right');
    await opens('frank');
    const [page] = await daemon.shred({ all: true });
    assert.deepEqual([page?.lost, page?.done], [0, true]);
  });

  it('is for the operator only, and not for a web page', async () => {
    const plain = await fetch(new URL('/shred', daemon.admin), { method: 'POST', body: '{"all":true}' });
    assert.equal(plain.status, 415);
    const unknown = await daemon.post('', '/shred', {}).catch((error: HttpFailure) => error.status);
    assert.equal(unknown, 404);
  });
});
