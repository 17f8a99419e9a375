import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from '../rig/daemon.js';
import { Line } from '../rig/line.js';
import { randomNumbers, seed } from '../rig/random.js';
import { cheapStretch } from '../rig/stretching.js';
import {
  FleetClient,
  type FleetDefinition,
  type FleetOptions,
  Locked,
  newBackupKey,
  TooFewVaults,
  Undecided,
  WrongPassword,
} from '../src/client/index.js';
import { subsets } from '../src/protocol/index.js';

/** Steps of the fleet's random life with crashes. */
const STEPS = Number(process.env.BKV_FLEET_STEPS ?? 12);
const MAX = 4;
const config = `maxAttempts: ${MAX}\nexchangeSeconds: 5\nrateLimit: { account: 10000, address: 100000 }\n`;

/** When too few vaults answer, the client cannot tell a wrong password from a lie. */
const isWrong = (error: unknown): boolean => error instanceof WrongPassword || error instanceof Undecided;

describe(`a fleet of five vaults (BKV_SEED=${seed})`, function () {
  this.timeout(600_000);
  const work = mkdtempSync(join(tmpdir(), 'bkv-fleet-'));
  const daemons: Daemon[] = [];
  const lines: Line[] = [];
  const folders = Array.from({ length: 5 }, (_, i) => `vault-${i}`);
  const start = async (i: number, name = folders[i] as string) => {
    folders[i] = name;
    mkdirSync(join(work, name), { recursive: true });
    daemons[i] = await Daemon.start(join(work, name), { config });
  };
  before(async () => {
    for (let i = 0; i < 5; i++) {
      await start(i);
      lines.push(await Line.open(daemons[i] as Daemon));
    }
  });
  after(async () => {
    for (const line of lines) line.close();
    await Promise.all(daemons.map((daemon) => daemon.stop()));
    rmSync(work, { recursive: true, force: true });
  });
  beforeEach(() => {
    for (const line of lines) Object.assign(line, { mode: 'open', remaining: Number.POSITIVE_INFINITY });
  });

  const entries = (some: readonly Line[]) => some.map(({ url, daemon }) => daemon.fleetEntry(url));
  const fleet = (account: string, size = 5, threshold = 3, predecessors: readonly FleetDefinition[] = []) =>
    over(lines.slice(0, size), account, { threshold, predecessors });
  const over = (some: readonly Line[], account: string, options: Partial<FleetOptions> = {}) =>
    new FleetClient({
      vaults: entries(some),
      threshold: 3,
      hedge: 300,
      timeout: 5000,
      stretch: cheapStretch,
      account,
      accessToken: ({ identity }) =>
        (daemons.find((daemon) => daemon.serverPublicKey === identity) ?? (daemons[0] as Daemon)).jwt(
          account,
        ),
      ...options,
    });
  const cutAllBut = (open: readonly Line[]) => {
    for (const line of lines) line.mode = open.includes(line) ? 'open' : 'cut';
  };

  for (const [threshold, size] of [
    [3, 5],
    [2, 3],
  ] as const) {
    it(`every ${threshold} of ${size} recover, one fewer says so`, async () => {
      const client = fleet(`subsets-${size}`, size, threshold);
      const key = newBackupKey();
      assert.equal((await client.register('right', key)).vaults, size);
      const members = lines.slice(0, size);
      for (const some of subsets(members, threshold)) {
        cutAllBut(some);
        assert.deepEqual((await client.recover('right')).backupKey, key);
      }
      for (const few of subsets(members, threshold - 1)) {
        cutAllBut(few);
        await assert.rejects(client.recover('right'), TooFewVaults);
      }
    });
  }

  it('puts a new password in place of the old one, and keeps the key', async () => {
    const client = fleet('changed');
    const key = newBackupKey();
    await client.register('old password', key);
    await assert.rejects(client.changePassword('not the old one', 'new password'), WrongPassword);
    await client.changePassword('old password', 'new password');
    assert.deepEqual((await client.recover('new password')).backupKey, key);
    await assert.rejects(client.recover('old password'), WrongPassword);
  });

  it('hedges a slow vault and does without a dead one', async () => {
    const client = fleet('hedged');
    const key = newBackupKey();
    await client.register('right', key);
    (lines[0] as Line).mode = 'slow';
    (lines[1] as Line).mode = 'cut';
    assert.deepEqual((await client.recover('right')).backupKey, key);
  });

  it('names the liar, and recovers all the same', async () => {
    // A slow machine's other vaults must not answer before the liar does.
    const client = over(lines, 'lied-to', { hedge: 5000 });
    const key = newBackupKey();
    await client.register('right', key);
    (lines[1] as Line).mode = 'lie';
    const { backupKey, liars } = await client.recover('right');
    assert.deepEqual(backupKey, key);
    assert.deepEqual(liars, [(lines[1] as Line).url]);
    await assert.rejects(client.recover('wrong'), WrongPassword);
  });

  // Requests to each vault: two ask for its identity and its state, two register the share, two prove the password, and one
  // ends the old registration. The three cuts run at once, each on lines of its own, because they mostly wait.
  it('opens with the old password or the new one, wherever a registration is cut off', async () => {
    const cutAt = async (cut: number, ahead: number, own: readonly Line[]) => {
      const client = over(own, `cut-off-${cut}`);
      const [first, second] = [newBackupKey(), newBackupKey()];
      for (let behind = 0; behind <= 5; behind++) {
        await client.delete();
        await client.register('old', first);
        for (const [i, line] of own.entries()) line.remaining = i < behind ? cut + ahead : cut;
        await client.register('new', second, { replace: true }).catch(() => undefined);
        for (const line of own) line.remaining = Number.POSITIVE_INFINITY;
        // One vault is down during the recovery.
        (own[4] as Line).mode = 'cut';
        const isOld = await client.recover('old').catch(() => undefined);
        const isNew = isOld ?? (await client.recover('new').catch(() => undefined));
        (own[4] as Line).mode = 'open';
        assert.deepEqual(isNew?.backupKey, isOld ? first : second, `cut at ${cut}, ${behind} vaults further`);
      }
    };
    const cuts = [
      [2, 2],
      [3, 1],
      [6, 1],
    ] as const;
    const sets = await Promise.all(cuts.map(() => Promise.all(daemons.map((daemon) => Line.open(daemon)))));
    try {
      await Promise.all(cuts.map(([cut, ahead], i) => cutAt(cut, ahead, sets[i] as Line[])));
    } finally {
      for (const line of sets.flat()) line.close();
    }
  });

  it('refuses a vault whose keys are not the pinned ones', async () => {
    const client = fleet('pinned');
    const key = newBackupKey();
    await client.register('right', key);
    const again = fleet('pinned');
    const [one, two] = [lines[0] as Line, lines[1] as Line];
    const daemon = one.daemon;
    one.daemon = two.daemon;
    try {
      assert.equal((await client.check())[0]?.state, 'another identity');
      const { backupKey, liars } = await again.recover('right');
      assert.deepEqual([backupKey, liars], [key, [one.url]], 'the others go on, and it is named');
    } finally {
      one.daemon = daemon;
    }
  });

  it('guesses spread over all subsets end at or below ⌊N·max/T⌋, counted from the tokens', async () => {
    const client = fleet('guessed');
    await client.register('right', newBackupKey());
    const some = [...subsets(lines, 3)];
    let guesses = 0;
    for (let i = 0; i < 40; i++) {
      cutAllBut(some[i % some.length] as Line[]);
      try {
        await client.recover('wrong');
        assert.fail('a wrong password opened');
      } catch (error) {
        if (isWrong(error)) guesses++;
        else if (!(error instanceof Locked || error instanceof TooFewVaults)) throw error;
      }
    }
    assert.ok(guesses <= Math.floor((5 * MAX) / 3), `${guesses} guesses`);
    assert.ok(guesses >= MAX, `${guesses} guesses`);
    cutAllBut(lines);
    await assert.rejects(
      client.recover('right'),
      (error) => error instanceof Locked || error instanceof TooFewVaults,
    );
  });

  it('heals when a vault was away, and when one was replaced by an empty one', async () => {
    const client = fleet('healed');
    const key = newBackupKey();
    (lines[4] as Line).mode = 'cut';
    assert.deepEqual(await client.register('right', key), {
      vaults: 4,
      pending: [(lines[4] as Line).url],
      silent: [(lines[4] as Line).url],
      liars: [],
    });
    (lines[4] as Line).mode = 'open';
    const healed = await client.recover('right');
    assert.equal(healed.repaired, 5);
    cutAllBut(lines.slice(2));
    assert.deepEqual((await client.recover('right')).backupKey, key);
    cutAllBut(lines);

    // A fleet in which one vault has another key is another fleet.
    const before = { vaults: entries(lines), threshold: 3 };
    await (daemons[0] as Daemon).stop();
    await start(0, 'replacement');
    (lines[0] as Line).daemon = daemons[0] as Daemon;
    const again = fleet('healed', 5, 3, [before]);
    assert.equal((await again.recover('right')).repaired, 5);
    cutAllBut([lines[0], lines[1], lines[2]] as Line[]);
    assert.deepEqual((await again.recover('right')).backupKey, key);
  });

  it('a partition, and one that moves, add no guess', async () => {
    const client = fleet('parted');
    await client.register('right', newBackupKey());
    let guesses = 0;
    const sides: Line[][] = [lines.slice(0, 3), lines.slice(2), lines.slice(1, 4)];
    for (const majority of sides) {
      const minority = lines.filter((line) => !majority.includes(line));
      for (let i = 0; i <= MAX; i++) {
        for (const side of [majority, minority]) {
          cutAllBut(side);
          const outcome = await client.recover('wrong').catch((error) => error);
          if (isWrong(outcome)) guesses++;
          if (side === minority) assert.ok(outcome instanceof TooFewVaults, 'a minority answered');
        }
      }
    }
    assert.ok(guesses >= MAX && guesses <= Math.floor((5 * MAX) / 3), `${guesses} guesses`);
  });

  it('keeps what it acknowledged through registrations, recoveries, guesses, cuts and crashes', async () => {
    const random = randomNumbers(seed);
    const pick = (n: number) => Math.floor(random() * n);
    const client = fleet('model');
    const crash = async (i: number) => {
      await (daemons[i] as Daemon).stop('SIGKILL');
      await start(i, folders[i]);
      (lines[i] as Line).daemon = daemons[i] as Daemon;
    };
    /** The passwords that may open, with their keys: one, unless a registration was cut off. */
    let possible = new Map<string, Uint8Array>();
    /** Guesses answered since the last recovery or registration. */
    let guesses = 0;
    /** Attempts that these guesses and cut-off operations may have spent at one vault. */
    let spent = 0;
    /** Dealings on which a guess is tried: two while a change is pending. */
    let dealings = 1;
    const counts = { registered: 0, recovered: 0, guessed: 0, crashed: 0, locked: 0 };
    const isEnough = () => counts.registered > 1 && counts.recovered > 1 && counts.crashed > 1;
    for (let step = 0; step < STEPS || !isEnough(); step++) {
      const during = pick(3) === 0 ? crash(pick(5)).then(() => counts.crashed++) : undefined;
      const cut = pick(4) === 0 ? (lines[pick(5)] as Line) : undefined;
      if (cut) cut.mode = 'cut';
      const what = possible.size === 0 ? 0 : pick(5);
      if (what === 0) {
        const [password, key] = [`password ${step}`, newBackupKey()];
        try {
          const { pending } = await client.register(password, key, { replace: true });
          possible = new Map([[password, key]]);
          counts.registered++;
          [guesses, spent, dealings] = [0, 0, pending.length > 0 ? 2 : 1];
        } catch (error) {
          assert.ok(error instanceof TooFewVaults, String(error));
          spent++;
          dealings++;
          possible.set(password, key);
        }
      } else if (what < 3) {
        const outcome = await client.recover(`guess ${step}`).catch((error) => error);
        spent += dealings;
        if (isWrong(outcome)) {
          guesses++;
          counts.guessed++;
        } else assert.ok(outcome instanceof Locked || outcome instanceof TooFewVaults, String(outcome));
        // A cut-off registration may have left another dealing, and each dealing has its own counters.
        assert.ok(guesses <= Math.floor((5 * MAX) / 3) * Math.max(1, possible.size), `${guesses} guesses`);
      } else if (during) spent++;
      await during;
      if (cut) cut.mode = 'open';
      if (what < 3) continue;
      let key: Uint8Array | undefined;
      let last: unknown;
      for (const [password, expected] of [...possible].reverse()) {
        try {
          const recovered = await client.recover(password);
          key = recovered.backupKey;
          assert.deepEqual(key, expected);
          possible = new Map([[password, expected]]);
          [guesses, spent, dealings] = [0, 0, recovered.pending.length > 0 ? 2 : 1];
          counts.recovered++;
          break;
        } catch (error) {
          last = error;
        }
      }
      if (key) continue;
      assert.ok(spent + possible.size > MAX, `step ${step}: lost after ${guesses} guesses: ${last}`);
      counts.locked++;
      possible = new Map();
      [guesses, spent, dealings] = [0, 0, 1];
      await client.delete();
    }
  });
});
