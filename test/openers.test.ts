import assert from 'node:assert/strict';
import fc from 'fast-check';
import { seed } from '../rig/random.js';
import {
  addOpener,
  backupEntries,
  listOpeners,
  type Opener,
  openerId,
  openerKinds,
  prune,
  removeOpener,
  restoreEntries,
  rotate,
  snapshots,
} from '../src/backup/index.js';
import { type Keyring, openKeyring } from '../src/backup/keyring.js';
import { newBackupKey } from '../src/client/index.js';
import { MemoryStorage, Objects, Shelf, source } from './support/memory.js';

/** Number of random histories. */
const HISTORIES = Number(process.env.BKV_HISTORIES ?? 25);
const KINDS = ['key', 'passkey', 'contacts'] as const;
const opener = (kind: Opener['kind'], label = ''): Opener => ({ kind, secret: newBackupKey(), label });

const copyOf = (objects: Objects): Objects => {
  const copy = new Objects();
  for (const [name, object] of objects.content) copy.content.set(name, object);
  return copy;
};
/** A storage that is cut off after `lives` requests. */
const cutOff = (objects: Objects, lives: number): MemoryStorage => {
  let left = lives;
  return new MemoryStorage(objects, () => {
    if (left-- <= 0) throw new Error('cut off');
  });
};
async function restored(objects: Objects, by: Opener, at?: string): Promise<Record<string, unknown>> {
  const shelf = new Shelf();
  const { damaged } = await restoreEntries(new MemoryStorage(objects), shelf, by, at ? { at } : {});
  assert.deepEqual(damaged, []);
  return shelf.files;
}
const backUp = (objects: Objects, by: Opener, text: string, storage = new MemoryStorage(objects)) =>
  backupEntries(source({ text }), 0, storage, by);

describe(`openers of a backup (BKV_SEED=${seed})`, () => {
  const [password, digits, passkey, contacts] = [
    { ...opener('key', 'mine'), form: 'password' } as Opener,
    { ...opener('key'), form: 'digits' } as Opener,
    { ...opener('passkey', 'phone'), credential: 'AAEC' } as Opener,
    { ...opener('contacts', 'Ann, Ben'), pieces: 3, threshold: 2 } as Opener,
  ] as const;
  let objects: Objects;
  let storage: MemoryStorage;
  beforeEach(() => {
    objects = new Objects();
    storage = new MemoryStorage(objects);
  });
  const idOf = (one: Opener) => openerId(one);

  it('each opens all snapshots, whichever opener made them; whoever has opened the backup sees all openers', async () => {
    await backUp(objects, password, 'one');
    for (const added of [digits, passkey, contacts]) await addOpener(storage, password, added);
    await backUp(objects, contacts, 'two');
    for (const by of [password, digits, passkey, contacts]) {
      assert.deepEqual(await restored(objects, by), { text: 'two' });
      const seen = await listOpeners(storage, by);
      assert.deepEqual(
        seen.map(({ kind, label, form, credential, pieces, threshold }) =>
          [kind, label, form, credential, pieces, threshold].filter((each) => each !== undefined),
        ),
        [
          ['key', 'mine', 'password'],
          ['key', '', 'digits'],
          ['passkey', 'phone', 'AAEC'],
          ['contacts', 'Ann, Ben', 3, 2],
        ],
      );
    }
    assert.deepEqual([...(await openerKinds(storage))].sort(), ['contacts', 'key', 'passkey']);
  });

  it('an opener’s header shows the storage its kind, and no other difference', async () => {
    await backUp(objects, password, 'one');
    for (const added of [digits, passkey, contacts]) await addOpener(storage, password, added);
    const headers = objects
      .paths(/^openers/)
      .map((name) => JSON.parse(Buffer.from(objects.content.get(name)?.bytes as Uint8Array).toString()));
    for (const header of headers)
      assert.deepEqual(Object.keys(header), ['version', 'kind', 'suite', 'by', 'enc', 'key', 'about']);
    assert.deepEqual(headers.map(({ kind }) => kind).sort(), ['contacts', 'key', 'key', 'passkey']);
    // The sealed parts are padded to one length, so that a password and digits look the same.
    const lengths = new Set(headers.map(({ about }) => about.length));
    assert.equal(lengths.size, 1, [...lengths].join());
  });

  it('the holder of a removed one, with a copy of everything, opens no later snapshot', async () => {
    await backUp(objects, password, 'before');
    await addOpener(storage, password, passkey);
    const thief = (await openKeyring(storage, passkey)) as Keyring;
    const before = new Set(objects.paths(/^parts/));
    const stay = await removeOpener(storage, password, await idOf(passkey));
    assert.deepEqual(
      stay.map(({ label }) => label),
      ['mine'],
    );
    assert.deepEqual(new Set(objects.paths(/^parts/)), before, 'nothing was uploaded again');
    const { snapshot } = await backUp(objects, password, 'after');
    // The thief has every object that there ever was, and every key that they could know.
    const sealed = objects.content.get(`snapshots/${snapshot}`)?.bytes as Uint8Array;
    await assert.rejects(thief.open(`snapshots/${snapshot}`, sealed), /another key/);
    for (const epoch of thief.epochs)
      await assert.rejects(epoch.open(`snapshots/${snapshot}`, sealed), /damaged/);
    const seen = await snapshots(storage, passkey);
    assert.deepEqual([seen.snapshots.length, seen.locked], [1, [snapshot]]);
    await assert.rejects(restored(objects, passkey), /does not open/);
    await assert.rejects(backUp(objects, passkey, 'forged'), /nothing was written/);
    await assert.rejects(addOpener(storage, passkey, digits), /nothing was written/);
    await assert.rejects(rotate(storage, passkey), /nothing was written/);
    await assert.rejects(prune(storage, passkey, 1), /nothing was written/);
    assert.deepEqual(await restored(objects, password), { text: 'after' });
  });

  it('a backup that a removal overtakes is written under the new key', async () => {
    await backUp(objects, password, 'one');
    await addOpener(storage, password, passkey);
    for (const moment of ['read marks', 'write snapshots']) {
      await addOpener(storage, password, passkey);
      const id = await idOf(passkey);
      const thief = (await openKeyring(storage, passkey)) as Keyring;
      let done = false;
      const overtaken = new MemoryStorage(objects, async (operation, name) => {
        if (done || !`${operation} ${name}`.startsWith(moment.replace('read marks', 'list marks'))) return;
        done = true;
        await removeOpener(new MemoryStorage(objects), password, id);
      });
      const { snapshot } = await backUp(objects, password, moment, overtaken);
      assert.ok(done);
      const sealed = objects.content.get(`snapshots/${snapshot}`)?.bytes as Uint8Array;
      await assert.rejects(thief.open(`snapshots/${snapshot}`, sealed), /another key|does not open/);
      assert.equal((await snapshots(storage, password)).snapshots.at(-1)?.name, snapshot);
    }
  });

  it('an opener added while another device rotates is in the new epoch, whichever comes second', async () => {
    await backUp(objects, password, 'one');
    const start = objects;
    for (let at = 0; ; at++) {
      objects = copyOf(start);
      let left = at;
      const inner = new MemoryStorage(objects);
      const adding = new MemoryStorage(objects, async () => {
        if (left-- === 0) await rotate(inner, password);
      });
      await addOpener(adding, password, digits);
      await backUp(objects, password, 'two');
      assert.deepEqual(await restored(objects, digits), { text: 'two' }, `at request ${at}`);
      if (left >= 0) break;
    }
    for (let at = 0; ; at++) {
      objects = copyOf(start);
      let left = at;
      const rotating = new MemoryStorage(objects, async () => {
        if (left-- === 0) await addOpener(new MemoryStorage(objects), password, digits);
      });
      await rotate(rotating, password);
      if (left >= 0) break;
      await backUp(objects, password, 'two');
      assert.deepEqual(await restored(objects, digits), { text: 'two' }, `at request ${at}`);
    }
  });

  it('two that remove each other lose nothing: both read, neither writes', async () => {
    await backUp(objects, password, 'one');
    await addOpener(storage, password, digits);
    const other = copyOf(objects);
    await removeOpener(storage, password, await idOf(digits));
    await removeOpener(new MemoryStorage(other), digits, await idOf(password));
    for (const [name, object] of other.content) objects.content.set(name, object);
    for (const by of [password, digits]) {
      assert.deepEqual(await restored(objects, by), { text: 'one' });
      await assert.rejects(backUp(objects, by, 'two'), /two devices changed the keys at once/);
    }
  });

  it('a storage that forgets each epoch that joins two others is given up', async () => {
    await backUp(objects, password, 'one');
    const other = copyOf(objects);
    await rotate(storage, password);
    await rotate(new MemoryStorage(other), password);
    for (const [name, object] of other.content) objects.content.set(name, object);
    const forgetful = new (class extends MemoryStorage {
      override async write(): Promise<void> {
        this.requests.push('write');
        assert.ok(this.requests.length < 1000, 'it goes on for ever');
      }
    })(objects);
    await assert.rejects(snapshots(forgetful, password), /other devices keep changing the keys/);
    assert.equal((await snapshots(storage, password)).snapshots.length, 1);
  });

  it('the label of an opener is as long as readers take it, at most', async () => {
    await backUp(objects, password, 'one');
    const before = objects.content.size;
    const named = (length: number) => opener('key', 'x'.repeat(length));
    await assert.rejects(addOpener(storage, password, named(60_000)), /label of an opener is too long/);
    assert.equal(objects.content.size, before);
    await addOpener(storage, password, named(10_000));
    assert.equal((await listOpeners(storage, password)).length, 2);
  });

  it('two devices that begin a backup at once have one history before an opener is added', async () => {
    const other = new Objects();
    await backUp(objects, password, 'here');
    await backUp(other, password, 'there');
    for (const [name, object] of other.content) objects.content.set(name, object);
    await addOpener(storage, password, digits);
    assert.equal((await snapshots(storage, digits)).snapshots.length, 2);
    await backUp(objects, digits, 'both');
  });

  it('a device that has seen a newer epoch writes nothing if the storage hides it', async () => {
    await backUp(objects, password, 'one');
    await addOpener(storage, password, digits);
    const old = copyOf(objects);
    await removeOpener(storage, password, await idOf(digits));
    const look = async (at: MemoryStorage) => {
      const { id, epochs } = await snapshots(at, password);
      return new Map([[id, epochs[0] as string]]);
    };
    const seen = await look(storage);
    const knows = { seenEpoch: (id: string) => seen.get(id) };
    await backupEntries(source({ text: 'two' }), 0, storage, password, knows);
    await rotate(storage, password, knows);
    await backupEntries(source({ text: 'three' }), 0, storage, password, knows);
    // The removed opener has made just as many epochs, and the storage shows those.
    await rotate(new MemoryStorage(old), digits);
    await rotate(new MemoryStorage(old), digits);
    const hiding = new MemoryStorage(old);
    const refused = /has seen newer keys/;
    await assert.rejects(backupEntries(source({ text: 'x' }), 0, hiding, password, knows), refused);
    await assert.rejects(addOpener(hiding, password, contacts, knows), refused);
    await assert.rejects(removeOpener(hiding, password, await idOf(digits), knows), refused);
    await assert.rejects(rotate(hiding, password, knows), refused);
    await assert.rejects(prune(hiding, password, 1, 0, knows.seenEpoch), refused);
    assert.ok(!hiding.requests.some((request) => /^(write|delete)/.test(request)));
  });

  /** A step of a history: who does what to whom, and after how many requests they are cut off. */
  const step = fc.record({
    act: fc.constantFrom('add', 'remove', 'rotate', 'back up', 'back up', 'restore'),
    who: fc.nat(20),
    whom: fc.nat(20),
    kind: fc.constantFrom(...KINDS),
    lives: fc.option(fc.nat(30), { freq: 2 }),
  });

  it('in every history, the remaining openers open all snapshots, and removed ones open no later one', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 9 }), async (steps) => {
        const objects = new Objects();
        const whole = () => new MemoryStorage(objects);
        const alive = new Map<string, Opener>();
        const removed: { by: Opener; knew: Keyring; later: string[] }[] = [];
        const made = new Map<string, string>();
        const first = opener('key');
        alive.set(await idOf(first), first);
        made.set((await backUp(objects, first, 'first')).snapshot, 'first');
        for (const [i, { act, who, whom, kind, lives }] of steps.entries()) {
          const pick = (n: number) => [...alive.entries()][n % alive.size] as [string, Opener];
          const [, by] = pick(who);
          const storage = lives === null ? whole() : cutOff(objects, lives);
          const parts = objects.paths(/^parts/).length;
          const attempt = async (work: Promise<unknown>) => {
            await work.catch((error: Error) => {
              if (lives === null || !/cut off/.test(error.message)) throw error;
            });
          };
          if (act === 'add') {
            const added = opener(kind, `${i}`);
            await attempt(addOpener(storage, by, added));
            const id = await idOf(added);
            const isAdded = (await listOpeners(whole(), by)).some((info) => info.id === id);
            assert.ok(isAdded || lives !== null, 'what was not cut off is done');
            if (isAdded) alive.set(id, added);
          } else if (act === 'remove') {
            const [id, target] = pick(whom);
            const knew = (await openKeyring(whole(), target)) as Keyring;
            if (alive.size === 1) await assert.rejects(removeOpener(storage, by, id));
            else await attempt(removeOpener(storage, by, id));
            const [, witness] = [...alive].find(([each]) => each !== id) ?? [id, target];
            const isThere = (await listOpeners(whole(), witness)).some((info) => info.id === id);
            assert.ok(!isThere || lives !== null || alive.size === 1, 'what was not cut off is done');
            if (!isThere) {
              alive.delete(id);
              removed.push({ by: target, knew, later: [] });
            }
          } else if (act === 'rotate') await attempt(rotate(storage, by));
          else if (act === 'restore') {
            const before = new Map(objects.content);
            const shelf = new Shelf();
            await attempt(
              restoreEntries(storage, shelf, by).then(({ damaged }) => assert.deepEqual(damaged, [])),
            );
            if (lives === null) assert.deepEqual(shelf.files, { text: [...made.values()].at(-1) });
            assert.deepEqual(objects.content, before, 'a restore writes nothing');
          } else if (act === 'back up') {
            const before = new Set(objects.paths(/^snapshots/));
            await attempt(backUp(objects, by, `text ${i}`, storage));
            // A backup that was cut off at its end may exist.
            for (const path of objects.paths(/^snapshots/))
              if (!before.has(path)) {
                made.set(path.slice('snapshots/'.length), `text ${i}`);
                for (const one of removed) one.later.push(path);
              }
          }
          if (!act.startsWith('back')) assert.equal(objects.paths(/^parts/).length, parts);
        }
        for (const [, by] of alive)
          for (const [snapshot, text] of made)
            assert.deepEqual(await restored(objects, by, snapshot), { text });
        for (const { by, knew, later } of removed)
          for (const path of later) {
            const sealed = objects.content.get(path)?.bytes as Uint8Array;
            for (const epoch of knew.epochs) await assert.rejects(epoch.open(path, sealed));
            const now = await openKeyring(whole(), by).catch(() => undefined);
            for (const epoch of now?.epochs ?? []) await assert.rejects(epoch.open(path, sealed));
          }
      }),
      { seed, numRuns: HISTORIES },
    );
  }).timeout(HISTORIES * 4000);
});
