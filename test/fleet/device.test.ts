import assert from 'node:assert/strict';
import {
  AccessTokenUnavailable,
  DeviceTooSlow,
  ExchangeExpired,
  type FleetOptions,
  newBackupKey,
  StretchingUnavailable,
} from '../../src/client/index.js';
import type { DoubleVault } from './double.js';
import { type Fleet, Life } from './life.js';
import { stretch } from './stretch.js';

describe('a fleet and failures on the device', () => {
  let life: Life;
  let fleet: Fleet;
  let vaults: DoubleVault[];
  const key = newBackupKey();
  const client = (options: Partial<FleetOptions> = {}) => life.client(fleet, [], { hedge: 2000, ...options });
  const guesses = () => vaults.map((vault) => vault.guesses);
  const used = () => vaults.flatMap(({ dealings }) => dealings.map((one) => one.used));
  /** A device that is slower than a vault that waits for one second. */
  const slow: Partial<FleetOptions> = {
    stretch: async (password, salt) => {
      await life.wait(1100);
      return stretch(password, salt);
    },
  };
  beforeEach(async () => {
    life = new Life('device');
    const members = [false, false, false].map((isFaulty) => life.addDouble(isFaulty));
    fleet = { members, threshold: 2, liars: 1 };
    vaults = members.map(({ vault }) => vault);
    await client().register('right', key);
  });
  afterEach(() => life.end());

  it('says when the device is slower than the vaults wait, and spends no attempt', async () => {
    for (const vault of vaults) vault.exchangeSeconds = 1;
    await assert.rejects(client(slow).recover('right'), DeviceTooSlow);
    await assert.rejects(client(slow).changePassword('right', 'new'), DeviceTooSlow);
    assert.deepEqual(
      [guesses(), used()],
      [
        [0, 0, 0],
        [0, 0, 0],
      ],
    );
  });

  it('registers nothing if the device would be too slow to recover it', async () => {
    for (const vault of vaults) Object.assign(vault, { exchangeSeconds: 1, dealings: [] });
    await assert.rejects(client(slow).register('right', key), DeviceTooSlow);
    assert.deepEqual(
      vaults.map(({ dealings }) => dealings.length),
      [0, 0, 0],
    );
  });

  it('goes on without a single vault that waits too short, and does not call it a liar', async () => {
    (vaults[0] as DoubleVault).exchangeSeconds = 1;
    const { backupKey, liars } = await client(slow).recover('right');
    assert.deepEqual([backupKey, liars, guesses()], [key, [], [0, 0, 0]]);
  });

  it('asks nothing if Argon2id cannot run, or if the app has no access token', async () => {
    const stretch = () => Promise.reject(new Error('no WebAssembly'));
    await assert.rejects(client({ stretch }).recover('right'), StretchingUnavailable);
    const accessToken = () => Promise.reject(new Error('signed out'));
    await assert.rejects(client({ accessToken }).recover('right'), AccessTokenUnavailable);
    assert.deepEqual(guesses(), [0, 0, 0]);
  });

  it('proves the password again if the first proof came too late, and gets all attempts back', async () => {
    for (const late of [[0], [0, 1]]) {
      for (const i of late) (vaults[i] as DoubleVault).late = 1;
      assert.deepEqual((await client().recover('right')).backupKey, key);
      assert.deepEqual(used(), [0, 0, 0], `late at ${late}`);
    }
  });

  it('says so if the proof comes too late again and again', async () => {
    for (const vault of vaults) vault.late = 9;
    await assert.rejects(client().recover('right'), ExchangeExpired);
  });
});
