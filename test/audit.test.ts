import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isOpenCryptoki, tokenConfig } from '../rig/token.js';
import { Keeper } from './support/keeper.js';

describe('the audit log', () => {
  const data = mkdtempSync(join(tmpdir(), 'bkv-audit-'));
  const path = join(data, 'audit.log');
  const config = 'maxAttempts: 2\n';
  let keeper: Keeper;
  let alice: string;
  let whole: string;
  const verify = (...flags: string[]) => {
    const { SOFTHSM2_CONF: _, BKV_TOKEN_PIN: __, ...env } = process.env;
    const profile = /profile: (.*)/.exec(tokenConfig(data))?.[1];
    const args = ['audit', 'verify', '--data', data, ...(profile ? ['--profile', profile] : []), ...flags];
    try {
      return execFileSync(process.execPath, ['dist/src/cli/main.js', ...args], { encoding: 'utf8', env });
    } catch (error) {
      return `${(error as { stdout: string; status: number }).status} ${(error as { stdout: string }).stdout}`;
    }
  };
  const lines = () =>
    readFileSync(path, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as { n: number; event: string; account?: string });
  before(async () => {
    keeper = await Keeper.start(data, { config });
    await keeper.register('alice', 'right');
    await (await keeper.startRecovery('alice', 'right')).prove();
    for (let i = 0; i < 2; i++) await (await keeper.startRecovery('alice', 'wrong')).abandon();
    await keeper.stop();
    keeper = await Keeper.start(data, { config });
    await keeper.register('bob', 'right');
    await keeper.stop('SIGKILL');
    keeper = await Keeper.start(data, { config });
    alice = await keeper.nameOf('alice');
    await keeper.stop();
    whole = readFileSync(path, 'utf8');
  });
  after(() => rmSync(data, { recursive: true, force: true }));

  it('records what happened, with hashed accounts, over restarts and a kill', () => {
    assert.match(verify(), /\d+ lines, [1-9]\d* seals? of the token, \d lines? after the last\nit is whole/);
    const { log, lines: count, faults, others } = JSON.parse(verify('--json')) as Record<string, unknown>;
    assert.deepEqual([log, count, faults, others], [path, lines().length, [], []]);
    const events = lines().filter(({ event }) => event !== 'seal');
    assert.deepEqual(
      events.filter(({ account }) => account === alice).map(({ event }) => event),
      ['registered', 'recovered', 'attempt failed', 'attempt failed', 'locked'],
    );
    assert.equal(events.filter(({ event }) => event === 'on duty').length, 3);
    assert.ok(!whole.includes('"alice"'));
  });

  it('shows a line that was changed, dropped, moved or added', () => {
    const all = whole.split('\n');
    const at = all.findIndex((line) => line.includes('"locked"'));
    const variants: [string, string[]][] = [
      ['changed', all.with(at, (all[at] as string).replace('locked', 'recovered'))],
      ['dropped', all.toSpliced(at, 1)],
      ['moved', all.with(at, all[at + 1] as string).with(at + 1, all[at] as string)],
      ['twice', all.toSpliced(at, 0, all[at] as string)],
      ['first dropped', all.slice(1)],
    ];
    for (const [name, changed] of variants) {
      writeFileSync(path, changed.join('\n'));
      assert.match(verify(), /^1 .*(was changed|not the token's)/s, name);
    }
    writeFileSync(path, whole);
  });

  it('goes on after a line that a crash cut off', async () => {
    appendFileSync(path, '{"n": 9999, "time": "20');
    assert.match(verify(), /it is whole/);
    keeper = await Keeper.start(data, { config });
    await keeper.stop();
    assert.match(verify(), /it is whole/);
  });

  it('gives no attempts back when token and database are put back, but not the log', async function () {
    // openCryptoki keeps its token outside the vault's data folder.
    if (isOpenCryptoki) this.skip();
    const before = `${data}-before`;
    const parts = ['tokens', 'records.sqlite'];
    const copy = (from: string, to: string) => {
      for (const part of parts) cpSync(join(from, part), join(to, part), { recursive: true });
    };
    try {
      copy(data, before);
      keeper = await Keeper.start(data, { config });
      await (await keeper.startRecovery('bob', 'wrong')).abandon();
      await keeper.stop();
      copy(data, before.replace('before', 'after'));
      for (const part of parts) rmSync(join(data, part), { recursive: true });
      copy(before, data);
      await assert.rejects(
        Keeper.start(data, { config }),
        /ended with 1: .*holds an older state of the retry counters \(change \d+\) than the audit log knows/s,
      );
      assert.match(verify(), /it is whole|^1 .*the end is missing/s);
      for (const part of parts) rmSync(join(data, part), { recursive: true });
      copy(before.replace('before', 'after'), data);
      keeper = await Keeper.start(data, { config });
      assert.equal((await keeper.status('bob')).attemptsRemaining, 1);
      await keeper.stop();
    } finally {
      for (const when of ['before', 'after'])
        rmSync(before.replace('before', when), { recursive: true, force: true });
    }
  });

  it('shows an end that was cut off, also when the keeper has written on after it', async () => {
    const all = readFileSync(path, 'utf8').split('\n').filter(Boolean);
    writeFileSync(path, `${all.slice(0, -6).join('\n')}\n`);
    assert.match(verify(), /^1 .*the end is missing/s);
    keeper = await Keeper.start(data, { config });
    await keeper.stop();
    assert.match(keeper.logs, /the audit log is not as it was left/);
    assert.match(verify(), /^1 .*were missing when line \d+ was written/s);
    keeper = await Keeper.start(data, { config });
    await keeper.stop();
    assert.match(verify(), /^1 .*were missing/s, 'it stays known');
    rmSync(path);
    keeper = await Keeper.start(data, { config });
    await keeper.stop();
    assert.match(verify(), /the token has also seen \d+ lines of another log/);
  });
});
