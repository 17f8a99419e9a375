import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Daemon, HttpFailure } from '../rig/daemon.js';
import { randomNumbers, seed } from '../rig/random.js';
import type { TestedVault } from '../rig/tested.js';
import { isOpenCryptoki } from '../rig/token.js';
import { ERRORS as CODES, CodedError } from '../src/protocol/index.js';
import {
  type Account,
  assertNoOrphans,
  config,
  judge,
  type Known,
  MAX,
  observe,
} from './support/invariants.js';
import { ERRORS, NEVER, Plan } from './support/io-plan.js';
import { Keeper } from './support/keeper.js';

/**
 * Which writes fail, one in each run: a number of them drawn by the seed, `all`, a share such as `1/2` (the first of two),
 * or one run by its name, such as `EIO:120` or `ENOSPC:120+`. SoftHSM2 writes each object a dozen times, which count as one
 * write unless BKV_IO_EACH=1.
 */
const failures = process.env.BKV_IO_ERRORS ?? '6';
/** Number of times that the disk fills up. */
const floods = Number(process.env.BKV_FULL_DISKS ?? '2');
/** Number of vaults that run at the same time. */
const lanes = Number(process.env.BKV_LANES ?? '2');

const PASSWORDS = { alice: ['second', 'first'], bob: ['right'], carol: ['right'], dora: ['right'] };

/** Registrations, guesses, a recovery, a deletion and a sweep. An operation that failed may or may not have taken effect. */
async function script(vault: TestedVault, known: Known, settle: () => Promise<void>): Promise<void> {
  const of = (name: string): Account => {
    known.accounts[name] ??= { state: 'unregistered', used: 0 };
    return known.accounts[name];
  };
  const attempt = async (work: () => Promise<unknown>): Promise<boolean> => {
    try {
      await work();
      return true;
    } catch (error) {
      const status = error instanceof CodedError ? CODES[error.code].status : undefined;
      assert.ok(status === 503 || status === 404, `refused with ${status}: ${(error as Error).stack}`);
      await settle();
      return false;
    }
  };
  const register = async (name: string, password: string) => {
    const account = of(name);
    account.pending = password;
    if (!(await attempt(() => vault.register(name, password)))) return;
    delete account.pending;
    Object.assign(account, { password, used: 0, underWay: 0, state: 'registered' });
  };
  const guess = async (name: string) => {
    const account = of(name);
    account.underWay = (account.underWay ?? 0) + 1;
    await attempt(async () => {
      const { abandon } = await vault.startRecovery(name, 'wrong');
      account.underWay = (account.underWay ?? 0) - 1;
      account.used++;
      await abandon();
    });
  };
  const recover = async (name: string) => {
    const account = of(name);
    account.underWay = (account.underWay ?? 0) + 1;
    await attempt(async () => {
      const { prove } = await vault.startRecovery(name, account.password as string);
      // If the write of a proof fails, the vault tries it again later: the attempts before it may come back or not.
      Object.assign(account, { used: 0, underWay: account.used + (account.underWay ?? 0) });
      await prove();
      account.underWay = 0;
    });
  };
  await register('alice', 'second');
  await guess('alice');
  await guess('bob');
  await recover('bob');
  await register('dora', 'right');
  of('carol').state = 'deleting';
  await attempt(async () => {
    await vault.delete('carol');
    of('carol').state = 'deleted';
  });
  await vault.shred().catch(settle);
  // Alice makes no more guesses: she needs an attempt for each password that may be hers.
  await guess('bob');
}

/** A run in which one write fails, or that one and all later ones. */
interface Run {
  readonly error: keyof typeof ERRORS;
  readonly first: number;
  readonly last: bigint;
}
const nameOf = ({ error, first, last }: Run) => `${error}:${first}${last === NEVER ? '+' : ''}`;
const runsAt = (first: number): Run[] =>
  (['ENOSPC', 'EIO'] as const).flatMap((error) => [
    { error, first, last: BigInt(first) },
    { error, first, last: NEVER },
  ]);

/** The runs that {@link failures} selects. */
function chosen(all: Run[]): Run[] {
  if (failures === 'all') return all;
  if (failures.includes(':')) return all.filter((run) => nameOf(run) === failures);
  const [share, shares] = failures.split('/').map(Number) as [number, number?];
  if (shares) return all.filter((_, i) => i % shares === share - 1);
  const random = randomNumbers(seed);
  const drawn = all.map((run) => ({ run, at: random() })).sort((a, b) => a.at - b.at);
  return drawn.slice(0, share).map(({ run }) => run);
}

/** A vault whose disk fails. Runs follow each other on the same data until one of them finds a fault. */
class Life {
  readonly #data: string;
  readonly #plan: Plan;
  #keeper: Keeper | undefined;

  constructor(readonly folder: string) {
    this.#data = join(folder, 'data');
    mkdirSync(this.#data);
    this.#plan = new Plan(folder, this.#data);
  }

  async #start(): Promise<Keeper> {
    this.#keeper = await Keeper.start(this.#data, { config, env: this.#plan.env });
    return this.#keeper;
  }

  /** Brings the accounts into the same state before each run. */
  async #prepare(keeper: Keeper): Promise<Known> {
    const registered = (password: string, used: number): Account => ({ state: 'registered', password, used });
    await keeper.register('alice', 'first');
    await keeper.register('bob', 'right');
    await keeper.register('carol', 'right');
    await keeper.delete('dora');
    await (await keeper.startRecovery('alice', 'wrong')).abandon();
    return {
      serverPublicKey: keeper.serverPublicKey,
      accounts: { alice: registered('first', 1), bob: registered('right', 0), carol: registered('right', 0) },
    };
  }

  /** Runs the script on a failing disk, cuts the power, and judges what is left. @returns number of writes of the script */
  async live({ first, last, error }: Run): Promise<number> {
    const keeper = this.#keeper ?? (await this.#start());
    const known = await this.#prepare(keeper);
    const once = last !== NEVER;
    this.#plan.fail(BigInt(first), last, ERRORS[error]);
    await script(keeper, known, () => (once ? keeper.until(true) : setTimeout(20)));
    const { count } = this.#plan;
    // Later writes could hide that an earlier one is missing. So every other time, the disk fails until the power is cut.
    if (!once && first % 2) {
      // Sometimes another keeper starts before the power cut. What it reads may not be on the disk.
      if (first % 4 === 3) await this.#startAgain();
      await this.#judge(known);
      return count;
    }
    this.#plan.fail(NEVER, NEVER);
    // The disk works again, and the vault must go on by itself.
    for (let i = 0; i < 5 && !(await keeper.ready()); i++) await keeper.until(true).catch(() => undefined);
    assert.ok(await keeper.ready(), 'it did not go on by itself');
    await keeper.register('eve', 'right');
    await this.#judge(known);
    return count;
  }

  /** Starts on a failing disk. @returns number of writes of the start */
  async begin({ first, last, error }: Run): Promise<number> {
    const known = await this.#prepare(this.#keeper ?? (await this.#start()));
    await this.#cutPower();
    this.#plan.fail(BigInt(first), last, ERRORS[error]);
    // It may end, so that it is started again, but not with an exit code that says a restart is useless.
    const started = await this.#start().catch(({ message }: Error) => {
      assert.doesNotMatch(message, /ended with (2|78)\b/);
    });
    const { count } = this.#plan;
    this.#plan.fail(NEVER, NEVER);
    if (started) await started.until(true);
    await this.#judge(known);
    return count;
  }

  async #startAgain(): Promise<void> {
    await this.#keeper?.stop('SIGKILL');
    this.#plan.fail(NEVER, NEVER);
    await (await this.#start()).register('eve', 'right');
  }

  async #cutPower(): Promise<void> {
    await this.#keeper?.stop('SIGKILL');
    this.#plan.cutPower();
    this.#plan.fail(NEVER, NEVER);
  }

  async #judge(known: Known): Promise<void> {
    await this.#cutPower();
    judge(await observe(await this.#start(), PASSWORDS), known);
  }

  get logs(): string {
    return this.#keeper?.logs ?? '';
  }

  /** @param orphans whether to check that no object is left that no part of the vault owns */
  async end(orphans: boolean): Promise<void> {
    await this.#keeper?.stop(orphans ? 'SIGTERM' : 'SIGKILL');
    if (orphans && this.#keeper) assertNoOrphans(this.#data);
    this.#plan.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

describe(`a disk that fails (BKV_SEED=${seed})`, () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-io-'));
  before(function () {
    if (isOpenCryptoki) this.skip();
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  const newLife = () => new Life(mkdtempSync(join(work, 'life-')));

  /** @param live makes one run @returns the faults found */
  async function inLanes(
    runs: readonly Run[],
    live: (life: Life, run: Run) => Promise<unknown>,
  ): Promise<string[]> {
    const left = [...runs];
    const found: string[] = [];
    const lane = async () => {
      let life = newLife();
      const note = async (where: string, work: () => Promise<unknown>) => {
        try {
          await work();
        } catch (error) {
          found.push(`${where}: ${(error as Error).message}`);
          console.log(`      ${where}: ${(error as Error).stack}\n${life.logs.slice(-1500)}`);
          await life.end(false);
          life = newLife();
        }
      };
      for (let run = left.shift(); run; run = left.shift()) {
        const one = run;
        await note(nameOf(one), () => live(life, one));
      }
      await note('at the end', () => life.end(true));
    };
    await Promise.all(Array.from({ length: lanes }, lane));
    return found;
  }

  for (const [what, live] of [
    ['while it answers', (life: Life, run: Run) => life.live(run)],
    ['while it starts', (life: Life, run: Run) => life.begin(run)],
  ] as const)
    it(`${what}, at one write or from then on: ${failures} runs`, async function () {
      this.timeout(36_000_000);
      const life = newLife();
      const count = await live(life, { error: 'EIO', first: Number.MAX_SAFE_INTEGER, last: NEVER });
      await life.end(true);
      const runs = chosen(Array.from({ length: count }, (_, i) => runsAt(i + 1)).flat());
      console.log(`      ${count} writes, ${runs.length} runs`);
      assert.ok(count > 20);
      assert.deepEqual(await inLanes(runs, live), []);
    });

  it(`that is full, ${floods} times: nothing acknowledged is lost, and the vault goes on when there is room`, async function () {
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
        const again = await Daemon.start(data, { config });
        daemon = again;
        judge(await observe(again, { alice: ['right'], bob: ['right'] }), known);
        await again.stop();
        assert.ok(known.accounts.alice?.used !== undefined && known.accounts.alice.used < MAX);
        rmSync(data, { recursive: true });
      }
    } finally {
      await daemon?.stop('SIGKILL');
      execFileSync('umount', ['-l', disk]);
    }
  });
});
