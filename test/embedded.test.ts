import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
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
import { Daemon } from './support/daemon.js';
import { isOpenCryptoki } from './support/token.js';

describe('the token of a data folder', () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-embedded-'));
  const data = join(work, 'vault');
  after(() => rmSync(work, { recursive: true, force: true }));
  const withDaemon = async <T>(folder: string, use: (daemon: Daemon) => Promise<T>, env = {}): Promise<T> => {
    const daemon = await Daemon.start(folder, { env });
    try {
      return await use(daemon);
    } finally {
      await daemon.stop();
    }
  };
  const remaining = (folder: string, env = {}) =>
    withDaemon(folder, async (daemon) => (await daemon.status('alice')).attemptsRemaining, env);
  const guess = (folder: string) =>
    withDaemon(folder, async (daemon) => {
      await (await daemon.startRecovery('alice', 'wrong')).abandon();
      return daemon.serverPublicKey;
    });

  before(async function () {
    if (isOpenCryptoki) return this.skip();
    mkdirSync(data);
    await withDaemon(data, (daemon) => daemon.register('alice', 'right'));
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

  it('is served whatever SOFTHSM2_CONF of the environment says', async () => {
    assert.equal(await remaining(data, { SOFTHSM2_CONF: '/nowhere/softhsm2.conf' }), 10);
  });

  it('is not opened with a new PIN when its own is lost: that is said, and nothing is written', async () => {
    const path = join(data, 'token-pin');
    const pin = readFileSync(path);
    const [token] = readdirSync(join(data, 'tokens')) as [string];
    const object = () => readFileSync(join(data, 'tokens', token, 'token.object'));
    const before = object();
    for (const lose of [() => rmSync(path), () => writeFileSync(path, '', { mode: 0o600 })]) {
      lose();
      await assert.rejects(Daemon.start(data), /token-pin is missing or empty.*Put the file back/s);
      assert.ok(!existsSync(path) || readFileSync(path).length === 0);
      assert.deepEqual(object(), before);
    }
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
