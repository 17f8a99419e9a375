import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Daemon, HttpFailure } from './daemon.js';
import { copyData, discardData, run } from './token.js';

const MAX = 4;
const config = `maxAttempts: ${MAX}\nrateLimit: { account: 1000, address: 1000 }\n`;
const preload = resolve('dist/test/faults.js');

/** What the client side knows: only what the daemon acknowledged counts, and what was under way may be either. */
interface Known {
  password?: string;
  pending?: string;
  /** evaluations received since the last success */
  used: number;
  /** one more may have been counted */
  underWay?: boolean;
  state: 'unregistered' | 'registered' | 'locked' | 'deleting';
}

async function script(daemon: Daemon, known: Map<string, Known>): Promise<void> {
  const of = (account: string): Known => {
    const found = known.get(account) ?? { used: 0, state: 'unregistered' };
    known.set(account, found);
    return found;
  };
  const register = async (account: string, password: string) => {
    const k = of(account);
    k.pending = password;
    await daemon.register(account, password);
    Object.assign(k, { password, pending: undefined, used: 0, state: 'registered' });
  };
  const guess = async (account: string) => {
    of(account).underWay = true;
    await (await daemon.startRecovery(account, 'wrong')).abandon();
    of(account).underWay = false;
    of(account).used++;
  };
  const recover = async (account: string) => {
    const { prove } = await daemon.startRecovery(account, of(account).password as string);
    of(account).used++;
    const spent = of(account).used;
    of(account).used = 0;
    await prove().catch((error) => {
      of(account).used = error instanceof HttpFailure ? spent : 0;
      throw error;
    });
  };
  await register('alice', 'first');
  await register('bob', 'right');
  await guess('alice');
  await recover('alice');
  await register('alice', 'second');
  await guess('alice');
  for (let i = 0; i < MAX; i++) await guess('bob');
  of('bob').state = 'locked';
  await register('carol', 'right');
  of('carol').state = 'deleting';
  await daemon.fetch('carol', 'DELETE', '/v1/account');
  for (let i = 0; i < 6; i++) {
    await guess('alice');
    await recover('alice');
  }
  assert.deepEqual(await daemon.shred(), [{ page: 0, moved: 1, lost: 0, done: true }]);
  await guess('alice');
}

async function opens(daemon: Daemon, account: string, password: string): Promise<boolean> {
  try {
    await (await daemon.startRecovery(account, password)).prove();
    return true;
  } catch {
    return false;
  }
}

async function check(daemon: Daemon, known: Map<string, Known>, where: string): Promise<void> {
  for (const [account, { password, pending, used, underWay, state }] of known) {
    const now = await daemon.status(account);
    if (state === 'locked') {
      assert.equal(
        await opens(daemon, account, password as string),
        false,
        `${where}: ${account} opens again`,
      );
      assert.equal(now.state, 'locked', `${where}: ${account} is not locked`);
      continue;
    }
    if (underWay && used + 1 >= MAX && now.state === 'locked') continue;
    if (state === 'deleting' || (!password && !pending)) continue;
    if (!password) {
      if (now.state === 'registered')
        assert.ok(
          await opens(daemon, account, pending as string),
          `${where}: a half registration of ${account}`,
        );
      continue;
    }
    assert.equal(now.state, 'registered', `${where}: ${account} vanished`);
    const isOld = used < MAX && (await opens(daemon, account, password));
    const isNew = !isOld && pending !== undefined && (await opens(daemon, account, pending));
    assert.ok(isOld || isNew || used >= MAX, `${where}: ${account} opens with neither password`);
    if (isOld && !pending)
      assert.ok(now.attemptsRemaining <= MAX - used, `${where}: attempts of ${account} came back`);
  }
}

/** Objects of the token that no part of the vault owns. */
const orphans = (data: string): string[] =>
  JSON.parse(run('dist/test/objects.js', data)).filter(
    (label: string) =>
      !/^bkv\.(static|record|fake|audit|transport|audit\.head\.[0-9a-f]{16}|ledger\.writer|ledger\.journal|ledger\.page\.0|page\.0\.\d+)$/.test(
        label,
      ),
  );

describe('a daemon killed before every write to its token and its database', () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-crash-'));
  after(() => rmSync(work, { recursive: true, force: true }));

  it('gives no attempt back, loses no account, opens no locked one, leaves no object behind', async function () {
    this.timeout(600_000);
    const template = join(work, 'template');
    mkdirSync(template);
    await (await Daemon.start(template, { config })).stop();

    const runUntil = async (name: string, killBefore?: number) => {
      const data = join(work, name);
      copyData(template, data);
      const writes = join(data, 'writes');
      const env = { BKV_WRITES: writes, ...(killBefore && { BKV_KILL_BEFORE: String(killBefore) }) };
      const known = new Map<string, Known>();
      let daemon: Daemon | undefined;
      try {
        daemon = await Daemon.start(data, { config, preload, env });
        await script(daemon, known);
      } catch (error) {
        assert.ok(killBefore, `the script failed without a kill: ${(error as Error).stack}`);
      }
      await daemon?.stop('SIGKILL');
      const again = await Daemon.start(data, { config });
      const where = `killed before write ${killBefore}`;
      try {
        await check(again, known, where);
      } finally {
        await again.stop();
      }
      assert.deepEqual(orphans(data), [], `${where}: orphans`);
      const count = existsSync(writes) ? readFileSync(writes).length / 32 : 0;
      discardData(data);
      return count;
    };

    const count = await runUntil('whole');
    assert.ok(count > 60, `only ${count} writes`);
    let next = 1;
    const lane = async () => {
      while (next <= count) {
        const at = next++;
        await runUntil(`kill-${at}`, at);
      }
    };
    await Promise.all([lane(), lane()]);
  });
});
