import assert from 'node:assert/strict';
import {
  chmodSync,
  cpSync,
  type Dirent,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from '../rig/daemon.js';
import type { TestedVault } from '../rig/tested.js';
import { isOpenCryptoki } from '../rig/token.js';
import { Keeper } from './support/keeper.js';

/** All entries below a folder; none if one vanishes during the listing. */
function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

describe('the token of a data folder', () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-embedded-'));
  const data = join(work, 'vault');
  after(() => rmSync(work, { recursive: true, force: true }));
  const using = async <V extends TestedVault, T>(vault: V, use: (vault: V) => Promise<T>): Promise<T> => {
    try {
      return await use(vault);
    } finally {
      await vault.stop();
    }
  };
  const statusIn = async (vault: TestedVault) => (await vault.status('alice')).attemptsRemaining;
  const remaining = async (folder: string) => using(await Keeper.start(folder), statusIn);
  const guess = async (folder: string) =>
    using(await Keeper.start(folder), async (keeper) =>
      (await keeper.startRecovery('alice', 'wrong')).abandon(),
    );

  before(async function () {
    if (isOpenCryptoki) return this.skip();
    mkdirSync(data);
    await using(await Keeper.start(data), (keeper) => keeper.register('alice', 'right'));
  });

  it('is the one in the folder, wherever the folder was copied or moved to', async () => {
    const [copy, moved] = [join(work, 'copy'), join(work, 'moved')];
    cpSync(data, copy, { recursive: true });
    await guess(copy);
    assert.equal(await remaining(copy), 9);
    assert.equal(await remaining(data), 10);
    renameSync(copy, moved);
    assert.equal(await remaining(moved), 9);
  });

  it('is accessible to its owner only, with its sockets and the files that come and go', async () => {
    // An earlier version left the file like this.
    chmodSync(join(data, 'records.sqlite'), 0o644);
    await using(await Daemon.start(data), async (daemon) => {
      const commandLine = readFileSync(`/proc/${daemon.processes().keeper}/cmdline`, 'utf8').split('\0');
      const sockets = commandLine[commandLine.indexOf('--sockets') + 1] as string;
      const seen = new Set<string>();
      const open = new Set<string>();
      const look = () => {
        for (const folder of [data, sockets])
          for (const { name, parentPath } of entriesOf(folder)) {
            seen.add(name.replace(/\d+$/, ''));
            const about = lstatSync(join(parentPath, name), { throwIfNoEntry: false });
            if (about && about.mode & 0o077) open.add(name);
          }
      };
      const looking = setInterval(look, 5);
      // The witness's folder may come and go between two looks, so registrations go on until it was seen.
      for (let i = 0; i < 200 && !seen.has('witness.'); i++) await daemon.register('bob', 'right');
      await daemon.shred();
      clearInterval(looking);
      look();
      assert.deepEqual([...open], []);
      for (const name of [
        'records.sqlite-wal',
        'records.sqlite-shm',
        'audit.log',
        'token-pin',
        'keeper.sock',
        'witness.',
      ])
        assert.ok(seen.has(name), `${name} was not there: ${[...seen]}`);
    });
  });

  it('is reported when it is missing, and no other one is made in its place', async () => {
    const [copy, elsewhere] = [join(work, 'without'), join(work, 'elsewhere')];
    cpSync(data, copy, { recursive: true });
    renameSync(join(copy, 'tokens'), elsewhere);
    for (const lost of [
      () => undefined,
      () => mkdirSync(join(copy, 'tokens', 'lost+found'), { recursive: true }),
    ]) {
      lost();
      await assert.rejects(Keeper.start(copy), /the token of this vault is not in .*Put the folder back/);
    }
    rmSync(join(copy, 'tokens'), { recursive: true });
    renameSync(elsewhere, join(copy, 'tokens'));
    mkdirSync(join(copy, 'tokens', 'lost+found'));
    assert.equal(await remaining(copy), 10);
  });

  it('is used whatever SOFTHSM2_CONF is in the environment', async () => {
    const env = { SOFTHSM2_CONF: '/nowhere/softhsm2.conf' };
    assert.equal(await using(await Daemon.start(data, { env }), statusIn), 10);
  });

  it('gets no new PIN when its own is lost: the error says so, and nothing is written', async () => {
    const path = join(data, 'token-pin');
    const pin = readFileSync(path);
    const [token] = readdirSync(join(data, 'tokens')) as [string];
    const object = () => readFileSync(join(data, 'tokens', token, 'token.object'));
    const before = object();
    for (const lose of [() => rmSync(path), () => writeFileSync(path, '\n', { mode: 0o600 })]) {
      lose();
      await assert.rejects(Daemon.start(data), /token-pin is missing or empty.*Put the file back/s);
      assert.ok(!existsSync(path) || readFileSync(path).length === 1);
      assert.deepEqual(object(), before);
    }
    rmSync(path);
    mkdirSync(path);
    await assert.rejects(Keeper.start(data), /token-pin: this is a folder/);
    rmSync(path, { recursive: true });
    writeFileSync(path, pin, { mode: 0o600 });
    assert.equal(await remaining(data), 10);
  });

  it('survives a login that was cut off while the module wrote its file', async () => {
    const [token] = readdirSync(join(data, 'tokens')) as [string];
    const path = join(data, 'tokens', token, 'token.object');
    const { length } = readFileSync(path);
    for (const left of [0, 8, 100, length - 1]) {
      truncateSync(path, left);
      assert.equal(await remaining(data), 10, `${left} bytes left`);
      assert.equal(readFileSync(path).length, length);
    }
  });
});
