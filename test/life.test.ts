import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parse } from 'yaml';
import { Daemon, HttpFailure } from '../rig/daemon.js';
import { isOpenCryptoki, run } from '../rig/token.js';

const config = 'rateLimit: { account: 100000, address: 100000 }\n';

describe('life with a token', () => {
  const data = mkdtempSync(join(tmpdir(), 'bkv-life-'));
  const logins = join(data, 'logins');
  let daemon: Daemon;
  const hang = join(data, 'hang');
  /** Configuration that names the same token by a profile with these fields. */
  const profileWith = (fields: object): string => {
    const path = join(data, 'other.yaml');
    const own = readFileSync(
      isOpenCryptoki ? join(data, 'profile.yaml') : 'hsm-config/softhsm2.yaml',
      'utf8',
    );
    writeFileSync(path, JSON.stringify({ ...parse(own), ...fields }));
    return `profile: ${path}\n`;
  };
  const start = (extra = '') =>
    Daemon.start(data, {
      config: config + extra,
      preload: resolve('dist/test/support/disturb.js'),
      env: { BKV_LOGINS: logins, BKV_HANG: hang, SOFTHSM2_CONF: join(data, 'softhsm2.conf') },
    });
  const guess = async (account: string) => (await daemon.startRecovery(account, 'wrong')).abandon();
  const remaining = async (account: string) => (await daemon.status(account)).attemptsRemaining;
  const countLogins = () => (existsSync(logins) ? readFileSync(logins).length : 0);
  before(async () => {
    daemon = await start();
    await daemon.register('alice', 'right');
  });
  after(async () => {
    await daemon.stop();
    rmSync(data, { recursive: true, force: true });
  });

  it('logs in again by itself when its sessions die, and keeps the counters', async () => {
    for (let round = 1; round <= 3; round++) {
      await guess('alice');
      daemon.signalKeeper('SIGUSR2');
      await daemon.until(false);
      const refused = await daemon.fetch('alice', 'GET', '/v1/account');
      assert.equal(refused.status, 503);
      assert.ok(Number(refused.headers.get('retry-after')) > 0);
      await daemon.until(true);
      assert.equal(await remaining('alice'), 10 - round);
      assert.equal(await daemon.metric('bkv_token_reopened_total'), round);
    }
    await (await daemon.startRecovery('alice', 'right')).prove();
  });

  it('counts every evaluation that it sent while its sessions died again and again', async () => {
    await daemon.register('bob', 'right');
    let evaluated = 0;
    let failed = 0;
    let busy = true;
    const guesses = Promise.all(
      Array.from({ length: 4 }, async () => {
        while (busy) {
          await guess('bob').then(
            () => evaluated++,
            (error) => {
              if (!(error instanceof HttpFailure) || ![423, 429, 503].includes(error.status)) throw error;
              if (error.status === 423) busy = false;
              else failed++;
            },
          );
          await setTimeout(60);
        }
      }),
    );
    for (let i = 0; i < 3; i++) {
      daemon.signalKeeper('SIGUSR2');
      await setTimeout(400);
    }
    busy = false;
    await guesses;
    // The daemon checks every second whether its sessions are alive.
    await setTimeout(1500);
    await daemon.until(true);
    assert.ok(evaluated <= 10, `${evaluated} evaluations`);
    assert.ok(failed > 0, 'no request met a dead session');
    if (evaluated < 10) assert.ok((await remaining('bob')) <= 10 - evaluated);
  });

  it('answers nothing while the token is pulled out, and goes on when it is back', async function () {
    // openCryptoki's software token runs inside the daemon's process and cannot be pulled out.
    if (isOpenCryptoki) return this.skip();
    await daemon.register('carol', 'right');
    await guess('carol');
    renameSync(join(data, 'tokens'), join(data, 'pulled'));
    const answers = await Promise.allSettled([0, 1, 2].map(() => guess('carol')));
    assert.ok(answers.every(({ status }) => status === 'rejected'));
    await daemon.until(false);
    await setTimeout(1500);
    assert.equal(await daemon.ready(), false);
    renameSync(join(data, 'pulled'), join(data, 'tokens'));
    await daemon.until(true);
    assert.ok((await remaining('carol')) <= 9);
    await (await daemon.startRecovery('carol', 'right')).prove();
    assert.equal(await remaining('carol'), 10);
  });

  it('never tries a refused PIN again', async () => {
    const pin = join(data, 'token-pin');
    const right = readFileSync(pin, 'utf8');
    writeFileSync(pin, 'not the PIN');
    const before = countLogins();
    daemon.signalKeeper('SIGUSR2');
    await daemon.until(false);
    await setTimeout(4000);
    assert.equal(countLogins(), before + 1);
    assert.match(await (await fetch(new URL('/readyz', daemon.admin))).text(), /refuses the PIN/);
    assert.equal((await daemon.fetch('alice', 'GET', '/v1/account')).status, 503);
    await daemon.stop();
    await assert.rejects(start(), /ended with 78.*refuses the PIN/s);
    assert.equal(countLogins(), before + 1);
    writeFileSync(pin, right);
    // Log in with the right PIN first. A real token near its lock would ask a person to do this as well.
    assert.ok(run('dist/rig/objects.js', data).includes('bkv.static'));
    daemon = await start();
    await (await daemon.startRecovery('alice', 'right')).prove();
  });

  it('waits for a call that returns late', async function () {
    this.timeout(30_000);
    const { attemptsRemaining } = await daemon.status('alice');
    writeFileSync(hang, '');
    const answer = assert.rejects(guess('alice'));
    await setTimeout(200);
    daemon.signalKeeper('SIGUSR2');
    await daemon.until(false);
    await answer;
    // Longer than one try to end the sessions takes.
    await setTimeout(6000);
    assert.equal(await daemon.ready(), false);
    rmSync(hang);
    await daemon.until(true);
    assert.ok((await remaining('alice')) <= attemptsRemaining);
    await (await daemon.startRecovery('alice', 'right')).prove();
  });

  it('ends itself when a call into the module hangs, so that it is started again', async () => {
    await daemon.stop();
    daemon = await start(profileWith({ callTimeout: 1 }));
    const { attemptsRemaining } = await daemon.status('alice');
    const killed = once(daemon.child, 'exit');
    writeFileSync(hang, '');
    const answer = guess('alice');
    await assert.rejects(answer);
    assert.deepEqual(await killed, [137, null]);
    rmSync(hang);
    daemon = await start();
    assert.ok((await remaining('alice')) <= attemptsRemaining);
    await (await daemon.startRecovery('alice', 'right')).prove();
  });

  it('reopens a module that wears out, and no request notices', async () => {
    await daemon.stop();
    daemon = await start(profileWith({ renewAfter: 100 }));
    const accounts = Array.from({ length: 8 }, (_, i) => `user-${i}`);
    await Promise.all(
      accounts.map(async (account) => {
        await daemon.register(account, 'right');
        for (let i = 0; i < 20; i++) {
          await guess(account);
          await (await daemon.startRecovery(account, 'right')).prove();
        }
        for (let i = 0; i < 3; i++) await guess(account);
        assert.equal(await remaining(account), 7);
      }),
    );
    const anew = daemon.logs.match(/token reopened/g)?.length ?? 0;
    assert.ok(anew >= 2, `reopened ${anew} times`);
    assert.doesNotMatch(daemon.logs, /"error"/);
  });
});
