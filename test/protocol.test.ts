import assert from 'node:assert/strict';
import { explore, type Faults, type Kind, world } from './support/protocol.js';

const together: Kind[] = ['backup', 'backup', 'prune'];

describe('several writers of one backup, in every order of their steps', () => {
  it('version 1 loses a part that a prune deletes while a backup relies on it', () => {
    const { failure } = explore(world(['old backup', 'old prune']));
    assert.ok(failure?.includes('old prune 1: sweep') && failure.includes('old backup 0: publish'));
  });

  for (const kinds of [together, ['backup', 'prune', 'prune'] as const])
    it(`${kinds.join(', ')}: a snapshot never lacks a part`, function () {
      this.timeout(120_000);
      const { failure, states, ends } = explore(world(kinds));
      assert.equal(failure, undefined);
      assert.ok(states > 1000, `${states} states`);
      // Every order of steps ends with a snapshot and without claims.
      assert.ok(ends.every(({ snapshots }) => Object.keys(snapshots).length > 0));
      assert.ok(ends.every(({ claims }) => Object.keys(claims).length === 0));
    });

  it('a part that no snapshot names is deleted', () => {
    const { ends } = explore(world(['prune']));
    assert.deepEqual(
      ends.map(({ parts }) => parts),
      [[]],
    );
  });

  for (const fault of [
    'claimLate',
    'snapshotsFirst',
    'reuseMarked',
    'sweepBlindly',
    'claimGoesEarly',
  ] as const satisfies (keyof Faults)[])
    it(`the search finds the fault ${fault}`, () => {
      assert.ok(explore(world(together), { [fault]: true }).failure);
    });
});
