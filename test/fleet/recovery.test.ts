import assert from 'node:assert/strict';
import { p256 } from '@noble/curves/nist.js';
import {
  type FleetOptions,
  NotRegistered,
  newBackupKey,
  TooFewVaults,
  WrongPassword,
} from '../../src/client/index.js';
import { Life } from './life.js';
import { stretch } from './stretch.js';

type Json = Record<string, unknown>;
/** Changes or delays an answer on its way. */
type Way = (path: string, answer: Response) => Promise<Response> | Response;

/** Milliseconds that are longer than any member takes, even on a busy machine. */
const PATIENT = 60_000;

describe('a recovery among slow members and liars', () => {
  let life: Life;
  const ways = new Map<number, Way>();
  const key = newBackupKey();
  const fleetOf = async (size: number, threshold: number) => {
    life = new Life('recovery');
    const { fetch } = globalThis;
    globalThis.fetch = async (input, init) => {
      const { hostname, pathname } = new URL(String(input));
      const answer = await fetch(input, init);
      return ways.get(Number(hostname.split('.').at(-1)) - 1)?.(pathname, answer) ?? answer;
    };
    const members = Array.from({ length: size }, () => life.addDouble(false));
    const fleet = { members, threshold, liars: size - threshold };
    let stretched = 0;
    const counted: FleetOptions['stretch'] = async (password, salt) => {
      if (password.some((byte) => byte > 0)) stretched++;
      // All members that were asked answer meanwhile.
      await life.wait(500);
      return stretch(password, salt);
    };
    const client = (hedge: number) => life.client(fleet, [], { hedge, stretch: counted });
    await client(2000).register('right', key);
    const count = async (work: () => Promise<unknown>) => {
      stretched = 0;
      await work();
      return stretched;
    };
    const spend = (...used: number[]) => {
      for (const [i, count] of used.entries())
        for (const dealing of members[i]?.vault.dealings ?? []) dealing.used += count;
    };
    return { client, count, members, spend, used: () => members.map(({ vault }) => vault.dealings[0]?.used) };
  };
  beforeEach(() => ways.clear());
  afterEach(() => life.end());

  /** Replaces an evaluation by a wrong one that agrees with no other. */
  const wrongly =
    (n: bigint): Way =>
    async (path, answer) => {
      if (path !== '/v1/recovery/start') return answer;
      const told = (await answer.json()) as Json;
      const KE2 = Buffer.from(String(told.KE2), 'base64url');
      KE2.set(p256.Point.BASE.multiplyUnsafe(n).toBytes(true));
      return Response.json({ ...told, KE2: KE2.toString('base64url') });
    };

  it('sends a proof again that a vault could not store, and gets the attempts back', async () => {
    const { client, used } = await fleetOf(3, 2);
    const { fetch } = globalThis;
    let failures = 0;
    globalThis.fetch = async (input, init) => {
      if (!String(input).endsWith('/v1/recovery/finish') || failures >= 4) return fetch(input, init);
      if (++failures % 2 === 0) throw new TypeError('the line broke');
      return new Response(null, { status: 503, headers: { 'retry-after': '0' } });
    };
    const all = client(2000);
    assert.deepEqual((await all.recover('right')).backupKey, key);
    await all.settled();
    assert.deepEqual(used(), [0, 0, 0]);
  });

  it('is not kept waiting by a member that never takes its share, however long it says it waits', async () => {
    const { client, members } = await fleetOf(3, 2);
    const says =
      (exchangeSeconds: string): Way =>
      async (path, answer) => {
        if (path === '/v1/share/finish') return new Response(null, { status: 503 });
        if (path !== '/v1/identity') return answer;
        const { serverPublicKey } = (await answer.json()) as Json;
        const json = `{"serverPublicKey":"${serverPublicKey}","wireVersion":2,"exchangeSeconds":${exchangeSeconds}}`;
        return new Response(json, { headers: { 'content-type': 'application/json' } });
      };
    for (const [seconds, isLie] of [
      ['3600', false],
      ['3601', true],
      ['1e400', true],
      ['1.5', true],
      ['0', true],
      ['-1', true],
      ['"60"', true],
      ['null', true],
    ] as const) {
      ways.set(0, says(seconds));
      const one = client(800);
      const began = performance.now();
      const { pending, liars } = await one.register('right', key, { replace: true });
      assert.ok(performance.now() - began < 20_000, `the user waits, if it says ${seconds}`);
      const url = members[0]?.url as string;
      assert.deepEqual([pending.includes(url), liars], isLie ? [false, [url]] : [true, []], seconds);
      await one.settled();
      assert.ok(performance.now() - began < 180_000, `the password stays in memory, if it says ${seconds}`);
    }
  });

  it('has a share withdrawn that a slow member takes after the registration has failed', async () => {
    const { client, members } = await fleetOf(3, 2);
    ways.set(0, async (path, answer) => {
      if (path === '/v1/share/finish') await life.wait(5000);
      return answer;
    });
    const failing: Way = (path, answer) => (path === '/v1/recovery/start' ? Response.error() : answer);
    for (const i of [1, 2]) ways.set(i, failing);
    const one = client(800);
    await assert.rejects(one.register('new', newBackupKey(), { replace: true }), TooFewVaults);
    await one.settled();
    assert.equal(members[0]?.vault.dealings.length, 1, 'the old one');
  });

  it('waits for an honest member that is slow to say what it holds, if the others do not open', async () => {
    const { client, used } = await fleetOf(3, 2);
    ways.set(0, (path, answer) => (path === '/v1/recovery/start' ? Response.error() : answer));
    ways.set(2, async (path, answer) => {
      if (path === '/v1/account') await life.wait(5000);
      return answer;
    });
    const one = client(800);
    assert.deepEqual((await one.recover('right')).backupKey, key);
    await one.settled();
    assert.deepEqual(used().slice(1), [0, 0]);
  });

  it('tells the number of failed attempts that an honest member counted, whatever liars say', async () => {
    const { client, spend } = await fleetOf(5, 3);
    const says =
      (failedAttempts: unknown): Way =>
      async (path, answer) =>
        path === '/v1/recovery/finish'
          ? Response.json({ ...((await answer.json()) as Json), failedAttempts })
          : answer;
    const told = async (...used: number[]) => {
      spend(...used);
      const one = client(PATIENT);
      const { failedAttempts, liars } = await one.recover('right');
      await one.settled();
      return [failedAttempts, liars.length];
    };
    await assert.rejects(client(PATIENT).recover('wrong'), WrongPassword);
    assert.deepEqual(await told(), [1, 0], 'a wrong password of an honest client is counted by all');
    assert.deepEqual(await told(), [0, 0]);
    assert.deepEqual(await told(3, 0, 2, 2, 0), [2, 0], 'guesses that each went to three members');
    assert.deepEqual(await told(4, 4, 0, 0, 0), [0, 0], 'liars could have said so');
    for (const lie of [200, 0]) {
      for (const i of [0, 1]) ways.set(i, says(lie));
      assert.deepEqual(await told(2, 2, 2, 2, 2), [2, 0], `liars say ${lie}`);
    }
    for (const [i, lie] of [-1, '1'].entries()) ways.set(i, says(lie));
    assert.deepEqual(await told(0, 0, 2, 0, 0), [2, 2], 'liars that are caught, and no more can lie');
    ways.clear();
    for (let i = 0; i < 5; i++) ways.set(i, says(undefined));
    assert.deepEqual(await told(2, 2, 2, 2, 2), [0, 0], 'vaults of an older version');
  });

  it('does not count its own attempts as failed: those that an unfinished change costs', async () => {
    const { client, spend } = await fleetOf(3, 2);
    ways.set(0, (path, answer) => (path === '/v1/recovery/start' ? Response.error() : answer));
    const { pending } = await client(PATIENT).register('new', key, { replace: true });
    assert.ok(pending.length > 0);
    ways.clear();
    for (const used of [0, 2]) {
      spend(used, used, used);
      const one = client(PATIENT);
      assert.equal((await one.recover('right')).failedAttempts, used, `${used} of somebody else`);
      await one.settled();
    }
  });

  it('takes the key of a slow honest member, although a liar gave another one at once', async () => {
    const { client } = await fleetOf(3, 2);
    ways.set(0, (path, answer) =>
      path === '/v1/recovery/finish' ? Response.json({ encryptedBackupKey: 'A'.repeat(80) }) : answer,
    );
    ways.set(1, async (path, answer) => {
      if (path === '/v1/recovery/finish') await life.wait(5000);
      return answer;
    });
    ways.set(2, (path, answer) => (path === '/v1/recovery/start' ? Response.error() : answer));
    const { backupKey, liars } = await client(800).recover('right');
    assert.deepEqual([backupKey, liars.length], [key, 1]);
  });

  it('leaves no attempt open when a change is aborted while it is proven', async () => {
    const { client, members } = await fleetOf(3, 2);
    const abort = new AbortController();
    let isDealt = false;
    for (const i of [0, 1, 2])
      ways.set(i, (path, answer) => {
        isDealt ||= path === '/v1/share/finish';
        if (isDealt && path === '/v1/recovery/start') abort.abort(new Error('enough'));
        return answer;
      });
    const one = client(2000);
    await assert.rejects(one.changePassword('right', 'new', { signal: abort.signal }), /enough/);
    await one.settled();
    assert.deepEqual(
      members.map(({ vault }) => [vault.attempts.size, vault.dealings.length]),
      members.map(() => [0, 1]),
    );
    assert.deepEqual((await client(2000).recover('right')).backupKey, key);
  });

  it('reports the state if nothing but the rest of a registration is left', async () => {
    const { client, members } = await fleetOf(3, 2);
    for (const { vault } of members.slice(1)) vault.loseDatabase();
    const [one] = members;
    const { state, rest } = await client(2000).status();
    assert.deepEqual([state, rest], ['unregistered', [one?.url]]);
    // One of the two members that claim to hold nothing might lie.
    await assert.rejects(client(2000).recover('right'), TooFewVaults);
    const trusted = life.client({ members, threshold: 2, liars: 0 });
    await assert.rejects(trusted.recover('right'), NotRegistered);
    await trusted.register('right', key, { replace: true });
    assert.deepEqual((await trusted.status()).state, 'registered');
    ways.set(1, () => Response.error());
    for (const { vault } of members.slice(1)) vault.loseDatabase();
    await assert.rejects(client(2000).status(), TooFewVaults, 'the silent one might hold the other share');
  });

  it('stretches once in the common case, for a wrong password too', async () => {
    const { client, count } = await fleetOf(5, 3);
    assert.equal(await count(() => client(2000).recover('right')), 1);
    assert.equal(await count(() => assert.rejects(client(2000).recover('wrong'), WrongPassword)), 1);
  });

  it('stretches at most C(N,T) times with the most liars allowed, and once when they are known', async () => {
    const { client, count, used } = await fleetOf(5, 3);
    ways.set(0, wrongly(7n));
    ways.set(2, wrongly(9n));
    const one = client(2000);
    const most = await count(async () => {
      const { backupKey, liars } = await one.recover('right');
      assert.deepEqual([backupKey, liars.length], [key, 2]);
    });
    assert.ok(most > 1 && most <= 10, `${most} stretchings`);
    assert.equal(await count(() => one.recover('right')), 1);
    await one.settled();
    assert.deepEqual([used()[1], used()[3], used()[4]], [0, 0, 0]);
  });
});
