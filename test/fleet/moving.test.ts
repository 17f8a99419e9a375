import assert from 'node:assert/strict';
import { type FleetClient, MovedAway, newBackupKey, WrongPassword } from '../../src/client/index.js';
import { type Fleet, Life } from './life.js';

describe('devices with older and newer fleet files', () => {
  let life: Life;
  const key = newBackupKey();
  /** whether a request is lost, by the vault's place and the method and path */
  let isLost: (at: number, asked: string) => boolean;
  beforeEach(() => {
    life = new Life('moving');
    isLost = () => false;
    const { fetch } = globalThis;
    globalThis.fetch = (input, init) => {
      const { hostname, pathname } = new URL(String(input));
      const at = Number(hostname.split('.').at(-1)) - 1;
      const asked = `${init?.method} ${pathname}`;
      return isLost(at, asked) ? Promise.reject(new TypeError('lost')) : fetch(input, init);
    };
    for (let i = 0; i < 6; i++) life.addDouble(false);
  });
  afterEach(() => life.end());

  const fleetOf = (places: readonly number[], threshold: number, liars: number): Fleet => ({
    members: places.map((place) => life.members[place] as Fleet['members'][number]),
    threshold,
    liars,
  });
  const isEnding = (asked: string) => /^DELETE .*account|commit$/.test(asked);

  it('finds a password that a device set in the old fleet while the account was moving', async () => {
    const [old, fresh] = [fleetOf([0, 1, 2], 2, 1), fleetOf([3, 4, 5], 2, 1)];
    const before: FleetClient = life.client(old);
    await before.register('first', key);
    isLost = (_, asked) => isEnding(asked);
    assert.notDeepEqual((await life.client(fresh, [old]).recover('first')).pending, []);
    isLost = () => false;
    assert.deepEqual((await before.changePassword('first', 'second')).pending, []);

    const after = life.client(fresh, [old]);
    // The first password still opens, but its move must not end the second one.
    const first = await after.recover('first');
    assert.equal(first.pending.length, 3);
    const { backupKey, pending } = await after.recover('second');
    assert.deepEqual([backupKey, pending], [key, []]);
    await assert.rejects(life.client(fresh, [old]).recover('first'), WrongPassword);
    assert.deepEqual(await before.status(), { state: 'unregistered', others: [], rest: [] });
  });

  it('refuses to change a password with an old fleet file after the account has moved', async () => {
    const [old, fresh] = [fleetOf([0, 1, 2], 2, 0), fleetOf([1, 2, 3], 2, 0)];
    const before = life.client(old);
    await before.register('first', key);
    isLost = (_, asked) => isEnding(asked);
    await life.client(fresh, [old]).recover('first');
    isLost = () => false;
    await assert.rejects(before.changePassword('first', 'second'), MovedAway);
    assert.deepEqual((await life.client(fresh, [old]).recover('first')).backupKey, key);
    await assert.rejects(life.client(fresh, [old]).recover('second'), WrongPassword);
    await assert.rejects(life.client(old).recover('first'), MovedAway);
  });

  it('gives a moved dealing a higher number than those of the old fleet, so that they end', async () => {
    const [old, fresh] = [fleetOf([0, 1, 2, 3, 4], 3, 2), fleetOf([4, 3, 2, 1, 0], 3, 2)];
    await life.client(old).register('zeroth', key);
    await life.client(old).register('first', key, { replace: true });
    for (const place of [0, 1]) await life.members[place]?.vault.loseDatabase();
    assert.deepEqual((await life.client(fresh, [old]).recover('first')).pending, []);
    for (const { vault } of fresh.members) assert.equal(vault.dealings.length, 1);
  });

  it('changes a password although a liar of an older fleet claims that the account has moved', async () => {
    const [old, fresh] = [fleetOf([0, 1, 2], 2, 1), fleetOf([3, 4, 5], 2, 0)];
    await life.client(old).register('first', key);
    const device = life.client(fresh, [old]);
    await device.recover('first');
    const { fetch } = globalThis;
    globalThis.fetch = async (input, init) => {
      const { hostname, pathname } = new URL(String(input));
      if (hostname !== '127.0.1.1' || pathname !== '/v1/account') return fetch(input, init);
      const dealings = [{ dealing: 'f'.repeat(32), proven: true, attemptsRemaining: 9 }];
      return Response.json({ state: 'registered', maxAttempts: 10, dealings });
    };
    await device.changePassword('first', 'second');
    assert.deepEqual((await device.recover('second')).backupKey, key);
    await assert.rejects(device.recover('first'), WrongPassword);
  });
});
