import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Daemon, HttpFailure } from '../rig/daemon.js';
import { randomNumbers, seed } from '../rig/random.js';
import { discardData, isOpenCryptoki } from '../rig/token.js';
import {
  type Account,
  assertNoOrphans,
  config,
  fleetClient,
  isOfFleet,
  judge,
  type Known,
  MAX,
  observe,
} from './support/invariants.js';
import { Keeper } from './support/keeper.js';
import { preloadWith } from './support/preload.js';

const preload = resolve('dist/test/support/faults.js');
/** Number of points at which a daemon is killed by SIGKILL. `all` takes most of an hour. */
const kills = process.env.BKV_KILLS ?? '5';
const workerKills = process.env.BKV_KILLS ?? '4';
/** Workers killed in one daemon before the next daemon is started. A daemon waits longer before each restart of a worker. */
const KILLS_A_DAEMON = 4;
/** Number of file states, drawn by the seed, on which a daemon is started. */
const judged = process.env.BKV_STATES ?? '16';

/** @param run prefix of the account names */
async function script(daemon: Daemon, known: Known, run = ''): Promise<void> {
  known.serverPublicKey = daemon.serverPublicKey;
  const [alice, bob, carol, dave] = [`${run}alice`, `${run}bob`, `${run}carol`, `${run}dave`] as const;
  const of = (name: string): Account => {
    known.accounts[name] ??= { state: 'unregistered', used: 0 };
    return known.accounts[name];
  };
  const register = async (name: string, password: string) => {
    const account = of(name);
    account.pending = password;
    if (isOfFleet(name))
      await (await fleetClient(daemon, name)).register(password, Buffer.alloc(32, 7), { replace: true });
    else await daemon.register(name, password);
    Object.assign(account, { password, pending: undefined, used: 0, state: 'registered' });
  };
  const guess = async (name: string) => {
    const account = of(name);
    account.underWay = 1;
    const { abandon } = await daemon.startRecovery(name, 'wrong');
    account.underWay = 0;
    account.used++;
    await abandon();
  };
  const recover = async (name: string) => {
    const account = of(name);
    const { prove } = await daemon.startRecovery(name, account.password as string);
    const spent = account.used + 1;
    account.used = 0;
    await prove().catch((error) => {
      if (error instanceof HttpFailure) account.used = spent;
      throw error;
    });
  };
  await register(alice, 'first');
  await register(bob, 'right');
  await guess(alice);
  await recover(alice);
  await register(alice, 'second');
  await guess(alice);
  for (let i = 0; i < MAX; i++) await guess(bob);
  of(bob).state = 'locked';
  await register(carol, 'right');
  of(carol).state = 'deleting';
  await daemon.fetch(carol, 'DELETE', '/v1/account');
  of(carol).state = 'deleted';
  await register(dave, 'first share');
  await register(dave, 'second share');
  await (await fleetClient(daemon, dave)).recover('second share');
  for (const { lost, done } of await daemon.shred()) assert.ok(done && lost === 0);
  await guess(alice);
  await recover(alice);
  await guess(alice);
}

/** All files of a data folder. */
type Image = ReadonlyMap<string, Buffer>;

/** Reads the folder again if the witness, whose process is not stopped, has removed one of its files meanwhile. */
function takeImage(data: string): Image {
  for (;;) {
    try {
      return readImage(data);
    } catch (error) {
      const { code, path } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT' || !path?.includes('/witness.')) throw error;
    }
  }
}

function readImage(data: string): Image {
  const files = readdirSync(data, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(
    files.map(({ parentPath, name }) => {
      const path = join(parentPath, name);
      return [relative(data, path), readFileSync(path)];
    }),
  );
}

/**
 * Two images have the same hash if a daemon that starts on them reads the same. Left out are SQLite's shared memory, the
 * audit log, and the witness's links, which the next witness removes.
 */
function hashOf(image: Image): string {
  const hash = createHash('sha256');
  for (const [path, content] of [...image].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (path.endsWith('-shm') || path === 'audit.log' || path.includes('/witness.')) continue;
    hash.update(`${path} ${content.length} `).update(content);
  }
  return hash.digest('hex');
}

function putImage(image: Image, data: string): void {
  for (const [path, content] of image) {
    // This file names the folder of the tokens, which in the copy is another one.
    if (path === 'softhsm2.conf') continue;
    mkdirSync(dirname(join(data, path)), { recursive: true });
    writeFileSync(join(data, path), content, { mode: 0o600 });
  }
}

/** Number of rounds in which all waiting threads are held, so that another thread can get ahead of them. */
const HELD = 4;

/**
 * Stops a process at each of its fault points. While `visit` runs, none of its threads does. Of the threads that wait at a
 * point, one goes on alone until it makes no more calls. This shows where a thread does not wait for another thread's write
 * although it should.
 */
async function atEachPoint(
  points: string,
  visit: (waiting: readonly string[]) => void,
  ended: AbortSignal,
): Promise<void> {
  const random = randomNumbers(seed);
  let running = '';
  let held = 0;
  while (!ended.aborted) {
    const [some] = readdirSync(points);
    if (!some) {
      await setTimeout(0);
      continue;
    }
    const pid = Number.parseInt(some, 10);
    process.kill(pid, 'SIGSTOP');
    while (!/\) T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) await setTimeout(0);
    // Time for the clients to receive what the daemon has already sent.
    await setTimeout(2);
    const waiting = readdirSync(points);
    visit(waiting);
    const next =
      waiting.find((point) => threadOf(point) === running) ??
      (held++ < HELD ? undefined : waiting[Math.floor(random() * waiting.length)]);
    if (next) {
      held = 0;
      running = threadOf(next);
      rmSync(join(points, next));
    }
    process.kill(pid, 'SIGCONT');
    if (!next) await setTimeout(1);
  }
}

const threadOf = (point: string): string => point.split('.')[1] as string;

async function inLanes<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  const left = [...all];
  const lane = async () => {
    for (let one = left.shift(); one !== undefined; one = left.shift()) await work(one);
  };
  await Promise.all([lane(), lane()]);
}

const passwordsOf = (run = '') => ({
  [`${run}alice`]: ['second', 'first'],
  [`${run}bob`]: ['right'],
  [`${run}carol`]: ['right'],
  [`${run}dave`]: ['second share', 'first share'],
});

describe(`a daemon that dies before or after any call to its token or database (BKV_SEED=${seed})`, () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-crash-'));
  after(() => rmSync(work, { recursive: true, force: true }));

  const check = async (data: string, where: string, knowledge: Iterable<Known>) => {
    try {
      const keeper = await Keeper.start(data, { config });
      const observed = await observe(keeper, passwordsOf()).finally(() => keeper.stop());
      for (const known of knowledge) judge(observed, known);
      assertNoOrphans(data);
    } catch (error) {
      throw new Error(`${where}: ${(error as Error).message}`, { cause: error });
    }
    discardData(data);
  };

  it('gives back no attempt, loses no account, opens no locked account and leaves no object behind', async function () {
    if (isOpenCryptoki) return this.skip();
    this.timeout(1_800_000);
    // SIGKILL leaves nothing of a process but its files. So the files are copied at each point, while the process is
    // stopped. Then a daemon starts on the copy. It is judged by what the clients knew at every point with these files.
    const data = join(work, 'frozen');
    const points = join(work, 'points');
    mkdirSync(data);
    mkdirSync(points);
    const known: Known = { accounts: {} };
    const images = new Map<string, { image: Image; points: Set<string>; knowledge: Set<string> }>();
    const visited = new Set<string>();
    const visit = (waiting: readonly string[]) => {
      const image = takeImage(data);
      const hash = hashOf(image);
      const same = images.get(hash) ?? { image, points: new Set(), knowledge: new Set() };
      images.set(hash, same);
      same.knowledge.add(JSON.stringify(known));
      for (const point of waiting) {
        visited.add(point);
        same.points.add(`${visited.size} (${point.split('.')[3]})`);
      }
    };
    const ended = new AbortController();
    const run = async () => {
      const daemon = await Daemon.start(data, { config, preload, env: { BKV_POINTS: points } });
      await script(daemon, known);
      await daemon.stop();
      ended.abort();
    };
    await Promise.all([run(), atEachPoint(points, visit, ended.signal)]);
    console.log(`      ${visited.size} points, ${images.size} states of the files`);
    assert.ok(visited.size > 1000 && images.size > 100);

    const random = randomNumbers(seed);
    const drawn = [...images.values()]
      .map((state) => ({ state, at: random() }))
      .sort((a, b) => a.at - b.at)
      .slice(0, judged === 'all' ? images.size : Number(judged))
      .map(({ state }) => state);
    await inLanes(drawn, async ({ image, points, knowledge }) => {
      const copy = mkdtempSync(join(work, 'image-'));
      putImage(image, copy);
      const where = [...points].join(', ').replace(/^(.{40}[^,]*), .*, /, '$1 … ');
      await check(
        copy,
        `at point ${where}`,
        [...knowledge].map((text) => JSON.parse(text)),
      );
    });
  });

  it(`does the same after a real SIGKILL, at ${kills} points`, async function () {
    this.timeout(7_200_000);
    const runUntil = async (killAt: number) => {
      const data = mkdtempSync(join(work, 'killed-'));
      const count = join(work, `count-${killAt}`);
      const known: Known = { accounts: {} };
      const env = { BKV_COUNT: count, BKV_KILL_AT: String(killAt) };
      try {
        const daemon = await Daemon.start(data, { config, preload, env });
        await script(daemon, known).finally(() => daemon.stop('SIGKILL'));
      } catch (error) {
        const reached = existsSync(count) && statSync(count).size >= killAt;
        assert.ok(reached, `the script failed without a kill: ${(error as Error).stack}`);
      }
      await check(data, `killed at point ${killAt}`, [known]);
      return statSync(count).size;
    };
    const count = await runUntil(Number.POSITIVE_INFINITY);
    const all = Array.from({ length: count }, (_, i) => i + 1);
    const step = kills === 'all' ? 1 : Math.floor(count / Number(kills));
    await inLanes(
      all.filter((at) => at % step === seed % step),
      async (at) => {
        await runUntil(at);
      },
    );
  });
});

describe(`a daemon whose HTTP worker is killed before or after any message to its keeper (BKV_SEED=${seed})`, () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-crash-'));
  after(() => rmSync(work, { recursive: true, force: true }));
  const left = join(work, 'left');

  /** Runs the script and kills a worker at point number `killAt`. @returns the number of points passed */
  const runUntil = async (daemon: Daemon, killAt: number): Promise<number> => {
    const known: Known = { accounts: {} };
    const run = `${killAt} `;
    writeFileSync(left, String(killAt));
    await script(daemon, known, run).catch((error: Error) => {
      assert.ok(!existsSync(left), `the script failed without a kill: ${error.stack}`);
    });
    if (existsSync(left)) return killAt - Number(readFileSync(left, 'utf8'));
    await answering(daemon);
    try {
      judge(await observe(daemon, passwordsOf(run)), known);
    } catch (error) {
      throw new Error(`killed at point ${killAt}: ${(error as Error).message}`, { cause: error });
    }
    return killAt;
  };

  const withDaemon = async (task: (daemon: Daemon) => Promise<void>) => {
    const data = mkdtempSync(join(work, 'data-'));
    const daemon = await Daemon.start(data, { config, preload: preloadWith('worker-faults', left) });
    await task(daemon).finally(() => daemon.stop());
    assertNoOrphans(data);
    discardData(data);
  };

  /** Draws the points at which a worker is killed. */
  const draw = async (daemon: Daemon): Promise<number[]> => {
    const count = await runUntil(daemon, Number.MAX_SAFE_INTEGER);
    console.log(`      ${count} points`);
    const step = workerKills === 'all' ? 1 : Math.floor(count / Number(workerKills));
    return Array.from({ length: count }, (_, at) => at).filter((at) => at % step === seed % step);
  };

  it(`gives back no attempt, loses no account, opens no locked account, and answers or hangs up, at ${workerKills} points`, async function () {
    this.timeout(7_200_000);
    let points: number[] | undefined;
    do {
      await withDaemon(async (daemon) => {
        points ??= await draw(daemon);
        for (const at of points.splice(0, KILLS_A_DAEMON)) await runUntil(daemon, at);
      });
    } while (points?.length);
  });
});

/** Waits until the worker that replaces a killed one answers. */
async function answering(daemon: Daemon): Promise<void> {
  while (!(await daemon.fetch(undefined, 'GET', '/v1/identity').catch(() => undefined))?.ok)
    await setTimeout(20);
}
