import assert from 'node:assert/strict';
import { randomNumbers, seed } from '../rig/random.js';
import { backupEntries, prune, restoreEntries, snapshots } from '../src/backup/index.js';
import { newBackupKey } from '../src/client/index.js';
import { MemoryStorage, Objects, Shelf, source, Turns } from './support/memory.js';

const ROUNDS = Number(process.env.BKV_WRITERS ?? 120);

describe(`several devices on one storage (BKV_SEED=${seed})`, () => {
  const key = newBackupKey();
  const restored = async (objects: Objects, at: string) => {
    const shelf = new Shelf();
    const { damaged } = await restoreEntries(new MemoryStorage(objects), shelf, key, { at });
    assert.deepEqual(damaged, []);
    return shelf.files;
  };

  for (const killed of [false, true])
    it(`begin, back up and prune at once${killed ? ', and stop anywhere' : ''}: every reported backup is there`, async function () {
      this.timeout(120_000);
      for (let round = 0; round < ROUNDS; round++) {
        const random = randomNumbers(`${seed} ${round} ${killed}`);
        const objects = new Objects();
        const shared = { 'old.txt': 'what a deleted snapshot left', 'both.txt': 'the same on both' };
        if (random() < 0.7) {
          // Leave a part that no snapshot names any more, and that both devices are about to use again.
          await backupEntries(source(shared), 0, new MemoryStorage(objects), key);
          await backupEntries(source({ 'x.txt': 'x' }), 0, new MemoryStorage(objects), key);
          await prune(new MemoryStorage(objects), key, 1);
        }
        const turns = new Turns(random);
        const device = (name: string) =>
          new MemoryStorage(
            objects,
            turns.of(name, killed && random() < 0.6 ? Math.floor(random() * 40) : undefined),
          );
        // The content is mostly that of the deleted snapshot, so that its part is needed again.
        const contents = ['a', 'b'].map(
          (name): Record<string, string> => (random() < 0.7 ? shared : { ...shared, [`${name}.txt`]: name }),
        );
        const results = await Promise.allSettled([
          ...contents.map((files, i) =>
            backupEntries(source(files), 0, device(`backup ${i}`), key, { host: `${i}` }),
          ),
          prune(device('prune'), key, 1, 0),
          prune(device('another prune'), key, 1, 0),
        ]);
        for (const [i, files] of contents.entries()) {
          const result = results[i] as PromiseSettledResult<{ snapshot: string }>;
          if (result.status === 'fulfilled')
            assert.deepEqual(await restored(objects, result.value.snapshot), files, `round ${round}`);
          else assert.match(result.reason.message, /killed/, `round ${round}: ${result.reason.stack}`);
        }
        // A device that stopped does not keep others from going on.
        const after = await backupEntries(source(shared), 0, new MemoryStorage(objects), key);
        await prune(new MemoryStorage(objects), key, 1, 0);
        assert.deepEqual(await restored(objects, after.snapshot), shared);
        for (const { name } of (await snapshots(new MemoryStorage(objects), key)).snapshots)
          await restored(objects, name);
      }
    });
});
