import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from '../rig/daemon.js';
import { isOpenCryptoki } from '../rig/token.js';
import { openSqlite } from '../src/keeper/records/sqlite.js';

const FILES = ['records.sqlite', 'records.sqlite-wal', 'records.sqlite-shm'];

describe('database and token of two vaults', function () {
  this.timeout(240_000);
  const work = mkdtempSync(join(tmpdir(), 'bkv-foreign-'));
  after(() => rmSync(work, { recursive: true, force: true }));

  const folder = (name: string): string => {
    const path = join(work, name);
    mkdirSync(path, { recursive: true });
    return path;
  };
  const copyDatabase = (from: string, to: string) => {
    removeDatabase(to);
    for (const name of FILES) if (existsSync(join(from, name))) cpSync(join(from, name), join(to, name));
  };
  const removeDatabase = (data: string) => {
    for (const name of FILES) rmSync(join(data, name), { force: true });
  };
  /** Makes a vault with an account, and stops it. @returns its identity */
  const made = async (name: string): Promise<string> => {
    const daemon = await Daemon.start(folder(name));
    await daemon.register('alice', 'right');
    await (await daemon.startRecovery('alice', 'wrong')).abandon();
    await daemon.stop();
    return daemon.serverPublicKey;
  };
  const unbind = (data: string) => openSqlite(join(data, 'records.sqlite')).exec('DELETE FROM vault').close();
  const start = (name: string): Promise<unknown> => Daemon.start(folder(name));

  it('are refused when mixed, and the error says which belongs to whom; put right again, the vault goes on', async function () {
    if (isOpenCryptoki) return this.skip();
    const [one, two] = [await made('one'), await made('two')];
    const copy = folder('copy');
    copyDatabase(folder('one'), copy);

    copyDatabase(folder('two'), folder('one'));
    const mixed = await start('one').catch((error: Error) => error.message);
    assert.match(
      String(mixed),
      new RegExp(`database belongs to the vault ${two}, but the token is that of the vault ${one}`),
    );

    unbind(folder('one'));
    await assert.rejects(start('one'), /opens none of the 1 records in the database/);

    removeDatabase(folder('one'));
    await assert.rejects(start('one'), /counters of 1 accounts, but the database is empty/);

    const fresh = await Daemon.start(folder('fresh'));
    await fresh.stop();
    copyDatabase(folder('two'), folder('fresh'));
    unbind(folder('fresh'));
    await assert.rejects(start('fresh'), /1 records, but the token of the vault .* has no counters/);

    copyDatabase(copy, folder('one'));
    const again = await Daemon.start(folder('one'));
    assert.equal((await again.status('alice')).attemptsRemaining, 9);
    await again.stop();
  });

  it('a token that was put back is refused, because the database knows its newer state', async function () {
    if (isOpenCryptoki) return this.skip();
    const data = folder('rolled');
    await made('rolled');
    cpSync(join(data, 'tokens'), join(data, 'older'), { recursive: true });
    const daemon = await Daemon.start(data);
    for (let i = 0; i < 3; i++) await (await daemon.startRecovery('alice', 'wrong')).abandon();
    await daemon.stop();
    rmSync(join(data, 'tokens'), { recursive: true });
    cpSync(join(data, 'older'), join(data, 'tokens'), { recursive: true });
    await assert.rejects(start('rolled'), /older state of the retry counters/);
  });
});
