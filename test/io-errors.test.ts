import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  cpSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Daemon, HttpFailure } from './support/daemon.js';
import { type Account, config, judge, type Known, MAX, observe } from './support/invariants.js';
import { randomNumbers, seed } from './support/random.js';
import { discardData, isOpenCryptoki } from './support/token.js';

/** How many of the writes fail, each in a run of its own; `all` takes hours. */
const failures = process.env.BKV_IO_ERRORS ?? '6';
/** How often the disk fills up. */
const floods = Number(process.env.BKV_FULL_DISKS ?? '2');

const ERRORS = { ENOSPC: 28, EIO: 5 } as const;
const NEVER = 2n ** 63n;

/** Which writes below a folder fail, told to `io-errors.c` of every process that has it preloaded. */
class Plan {
  readonly #file: number;
  readonly env: NodeJS.ProcessEnv;

  constructor(work: string, below: string) {
    const library = join(work, 'io-errors.so');
    execFileSync('cc', ['-shared', '-fPIC', '-o', library, 'test/support/io-errors.c', '-ldl', '-lpthread']);
    const path = join(work, 'plan');
    writeFileSync(path, Buffer.alloc(32));
    this.#file = openSync(path, 'r+');
    this.env = { LD_PRELOAD: library, BKV_IO_PLAN: path, BKV_IO_BELOW: below };
    this.fail(NEVER, NEVER);
  }

  /** Has the writes from number `first` to `last`, counted from now, fail. */
  fail(first: bigint, last: bigint, error: number = ERRORS.EIO): void {
    const bytes = Buffer.alloc(32);
    for (const [i, value] of [0n, first, last, BigInt(error)].entries()) bytes.writeBigUInt64LE(value, i * 8);
    writeSync(this.#file, bytes, 0, 32, 0);
  }

  /** Writes since {@link fail}. */
  get count(): number {
    const bytes = Buffer.alloc(8);
    readSync(this.#file, bytes, 0, 8, 0);
    return Number(bytes.readBigUInt64LE());
  }

  close(): void {
    closeSync(this.#file);
  }
}

const PASSWORDS = { alice: ['second', 'first'], bob: ['right'], carol: ['right'], dora: ['right'] };

/** Registrations, guesses, a recovery, a lock-out, a deletion and a sweep; what is refused may have been done or not. */
async function script(daemon: Daemon, known: Known, settle: () => Promise<void>): Promise<void> {
  const of = (name: string): Account => {
    known.accounts[name] ??= { state: 'unregistered', used: 0 };
    return known.accounts[name];
  };
  const attempt = async (work: () => Promise<unknown>): Promise<boolean> => {
    try {
      await work();
      return true;
    } catch (error) {
      const { status } = error as HttpFailure;
      assert.ok(status === 503 || status === 404, `refused with ${status}: ${(error as Error).stack}`);
      await settle();
      return false;
    }
  };
  const register = async (name: string, password: string) => {
    const account = of(name);
    account.pending = password;
    if (!(await attempt(() => daemon.register(name, password)))) return;
    delete account.pending;
    Object.assign(account, { password, used: 0, underWay: 0, state: 'registered' });
  };
  const guess = async (name: string) => {
    const account = of(name);
    account.underWay = (account.underWay ?? 0) + 1;
    await attempt(async () => {
      const { abandon } = await daemon.startRecovery(name, 'wrong');
      account.underWay = (account.underWay ?? 0) - 1;
      account.used++;
      await abandon();
    });
  };
  const recover = async (name: string) => {
    const account = of(name);
    account.underWay = (account.underWay ?? 0) + 1;
    await attempt(async () => {
      const { prove } = await daemon.startRecovery(name, account.password as string);
      await prove();
      Object.assign(account, { used: 0, underWay: 0 });
    });
  };
  await register('alice', 'second');
  await guess('alice');
  await guess('bob');
  await recover('bob');
  await register('dora', 'right');
  of('carol').state = 'deleting';
  await attempt(async () => {
    const { status } = await daemon.fetch('carol', 'DELETE', '/v1/account');
    if (status >= 300) throw new HttpFailure(status, {});
    of('carol').state = 'deleted';
  });
  await daemon.shred().catch(settle);
  // Alice keeps an attempt for each of the passwords that may be hers.
  await guess('bob');
}

describe(`a disk that fails (BKV_SEED=${seed})`, () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-io-'));
  const template = join(work, 'template');
  before(async function () {
    if (isOpenCryptoki) return this.skip();
    execFileSync('mkdir', [template]);
    const daemon = await Daemon.start(template, { config });
    await daemon.register('alice', 'first');
    await daemon.register('bob', 'right');
    await daemon.register('carol', 'right');
    await (await daemon.startRecovery('alice', 'wrong')).abandon();
    await daemon.stop();
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  const knownBefore = (): Known => ({
    accounts: {
      alice: { state: 'registered', password: 'first', used: 1 },
      bob: { state: 'registered', password: 'right', used: 0 },
      carol: { state: 'registered', password: 'right', used: 0 },
    },
  });

  /** @returns how many writes the script made */
  const runWith = async (first: bigint, last: bigint, error: keyof typeof ERRORS): Promise<number> => {
    const folder = mkdtempSync(join(work, 'run-'));
    const data = join(folder, 'data');
    // The token of a copied folder is the one in it.
    cpSync(template, data, { recursive: true });
    const plan = new Plan(folder, data);
    const known = knownBefore();
    const daemon = await Daemon.start(data, { config, env: plan.env });
    known.serverPublicKey = daemon.serverPublicKey;
    try {
      plan.fail(first, last, ERRORS[error]);
      const once = first === last;
      await script(daemon, known, () => (once ? daemon.until(true) : setTimeout(20).then(() => undefined)));
      const { count } = plan;
      plan.fail(NEVER, NEVER);
      // There is room again: all goes on by itself.
      for (let i = 0; i < 5 && !(await daemon.ready()); i++) await daemon.until(true).catch(() => undefined);
      assert.ok(await daemon.ready(), `it did not go on by itself: ${daemon.logs.slice(-1500)}`);
      await daemon.register('eve', 'right');
      await daemon.stop('SIGKILL');
      judge(await observe(data, PASSWORDS), known);
      return count;
    } catch (cause) {
      throw new Error(
        `${error} at ${first}${first === last ? '' : ' and after'}: ${(cause as Error).message}`,
        {
          cause,
        },
      );
    } finally {
      await daemon.stop('SIGKILL');
      plan.close();
      discardData(data);
      rmSync(folder, { recursive: true, force: true });
    }
  };

  it(`at one write or from then on: ${failures} runs`, async function () {
    this.timeout(36_000_000);
    const count = await runWith(NEVER, NEVER, 'EIO');
    console.log(`      ${count} writes`);
    assert.ok(count > 100);
    const random = randomNumbers(seed);
    const runs = Array.from({ length: count }, (_, i) => BigInt(i + 1)).flatMap((n) =>
      (['ENOSPC', 'EIO'] as const).flatMap((error) => [
        { n, last: n, error },
        { n, last: NEVER, error },
      ]),
    );
    const some = failures === 'all' ? runs : runs.toSorted(() => random() - 0.5).slice(0, Number(failures));
    const failed: string[] = [];
    for (const { n, last, error } of some)
      await runWith(n, last, error).catch((cause: Error) => {
        console.log(`      ${cause.message}`);
        failed.push(cause.message);
      });
    assert.deepEqual(failed, []);
  });

  it(`that is full, ${floods} times: nothing that was acknowledged is lost, and it goes on when there is room`, async function () {
    this.timeout(floods * 120_000);
    const disk = join(work, 'disk');
    execFileSync('mkdir', [disk]);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', disk], { stdio: 'pipe' });
    } catch {
      console.log('      skipped: this user cannot mount a tmpfs; run it as root, or in: unshare -rm');
      return this.skip();
    }
    let daemon: Daemon | undefined;
    try {
      for (let i = 0; i < floods; i++) {
        const data = join(disk, `data-${i}`);
        execFileSync('mkdir', [data]);
        const known: Known = { accounts: {} };
        const first = await Daemon.start(data, { config });
        daemon = first;
        for (const name of ['alice', 'bob']) {
          await first.register(name, 'right');
          known.accounts[name] = { state: 'registered', password: 'right', used: 0, underWay: 0 };
        }
        const { bavail, bsize } = statfsSync(disk);
        assert.throws(() => writeFileSync(join(disk, 'filler'), Buffer.alloc(bavail * bsize + 65_536)));
        for (const name of ['alice', 'bob', 'alice']) {
          const account = known.accounts[name] as Account;
          account.underWay = 1 + (account.underWay ?? 0);
          const answer = await first.startRecovery(name, 'wrong').catch((error: HttpFailure) => error);
          if (answer instanceof HttpFailure) assert.equal(answer.status, 503);
          else {
            account.underWay--;
            account.used++;
          }
        }
        const says = await fetch(new URL('/readyz', first.admin));
        assert.equal(says.status, 503);
        assert.match(await says.text(), /disk full/);
        const restarted = i % 2 === 0;
        if (restarted) assert.equal(await daemon.stop(), 0);
        rmSync(join(disk, 'filler'));
        if (restarted) daemon = await Daemon.start(data, { config });
        await daemon.until(true);
        await daemon.register('carol', 'right');
        await daemon.stop(restarted ? 'SIGTERM' : 'SIGKILL');
        judge(await observe(data, { alice: ['right'], bob: ['right'] }), known);
        assert.ok(known.accounts.alice?.used !== undefined && known.accounts.alice.used < MAX);
        rmSync(data, { recursive: true });
      }
    } finally {
      await daemon?.stop('SIGKILL');
      execFileSync('umount', ['-l', disk]);
    }
  });
});
