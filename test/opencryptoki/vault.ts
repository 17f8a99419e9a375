import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from '../../rig/daemon.js';
import { Locked, newBackupKey, WrongPassword } from '../../src/client/index.js';

/** Run by test/opencryptoki.test.ts in the root directory that softhsm/opencryptoki.sh makes. */
describe("a vault on openCryptoki's software token", () => {
  const data = mkdtempSync(join(tmpdir(), 'bkv-opencryptoki-'));
  const config = `database: ${process.env.BKV_TEST_DATABASE}\nrateLimit: { account: 1000, address: 10000 }\n`;
  let daemon: Daemon;
  before(async () => {
    daemon = await Daemon.start(data, { config });
  });
  after(async () => {
    await daemon.stop('SIGKILL');
    rmSync(data, { recursive: true, force: true });
  });
  const restart = async (signal?: NodeJS.Signals) => {
    const code = await daemon.stop(signal);
    daemon = await Daemon.start(data, { config });
    return code;
  };
  const doctor = () => {
    const args = ['dist/src/cli/main.js', 'doctor', '--data', data, '--profile', join(data, 'profile.yaml')];
    const { status, stdout } = spawnSync(process.execPath, [...args, '--objects', '20'], {
      encoding: 'utf8',
    });
    return { status, stdout };
  };

  it('registers, counts wrong passwords, recovers, and registers again', async () => {
    const alice = daemon.client('alice');
    const key = newBackupKey();
    await alice.register('right', key);
    await assert.rejects(
      alice.recover('wrong'),
      (error: WrongPassword) => error instanceof WrongPassword && error.attemptsRemaining === 9,
    );
    assert.deepEqual((await alice.recover('right')).backupKey, key);
    const other = newBackupKey();
    await alice.register('second', other, { replace: true });
    assert.deepEqual((await alice.recover('second')).backupKey, other);
  });

  it('counts each of many guesses at once, and has the same counters after a stop and after a power cut', async () => {
    await daemon.register('bob', 'right');
    await daemon.register('carol', 'right');
    await Promise.all(
      ['bob', 'bob', 'carol', 'bob', 'carol', 'bob'].map(async (name) =>
        (await daemon.startRecovery(name, 'wrong')).abandon(),
      ),
    );
    const counts = async () => [
      (await daemon.status('bob')).attemptsRemaining,
      (await daemon.status('carol')).attemptsRemaining,
    ];
    assert.deepEqual(await counts(), [6, 8]);
    assert.equal(await restart(), 0);
    assert.deepEqual(await counts(), [6, 8]);
    await (await daemon.startRecovery('bob', 'wrong')).abandon();
    await restart('SIGKILL');
    assert.deepEqual(await counts(), [5, 8]);
    await (await daemon.startRecovery('bob', 'right')).prove();
    assert.deepEqual(await counts(), [10, 8]);
  });

  it('locks for ever after ten wrong passwords', async () => {
    const dave = daemon.client('dave');
    await dave.register('right', newBackupKey());
    for (let i = 0; i < 10; i++) await (await daemon.startRecovery('dave', 'wrong')).abandon();
    await assert.rejects(dave.recover('right'), Locked);
    await restart('SIGKILL');
    await assert.rejects(daemon.client('dave').recover('right'), Locked);
  });

  it('destroys the keys of pages with deleted accounts, and keeps the others', async () => {
    const pageKeys = () => daemon.objects().filter((label) => label.startsWith('bkv.page.'));
    await daemon.register('erin', 'right');
    const before = pageKeys();
    await daemon.delete('erin');
    assert.ok((await daemon.shred()).every(({ done }) => done));
    assert.ok(before.length > 0 && !pageKeys().some((label) => before.includes(label)));
    await (await daemon.startRecovery('bob', 'right')).prove();
  });

  it('doctor finds that all works, and that whoever has the PIN can take keys out', async () => {
    await daemon.stop();
    const { status, stdout } = doctor();
    assert.equal(status, 5, stdout);
    assert.doesNotMatch(stdout, /^missing/m);
    assert.match(stdout, /^unsafe .*an account's key is unwrapped in the open/m);
    assert.match(stdout, /^works .*two sessions on two threads/m);
    const profile = join(data, 'profile.yaml');
    const own = readFileSync(profile, 'utf8');
    writeFileSync(profile, JSON.stringify({ ...JSON.parse(own), requireNonExportable: true }));
    await assert.rejects(
      Daemon.start(data, { config: `${config}profile: ${profile}\n` }),
      /requireNonExportable/,
    );
    writeFileSync(profile, own);
    daemon = await Daemon.start(data, { config });
  });
});
