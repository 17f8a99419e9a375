import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomStream, seed } from '../rig/random.js';
import {
  backupEntries,
  identify,
  listOpeners,
  migrate,
  prune,
  removeOpener,
  restoreEntries,
  rotate,
  snapshots,
  verify,
} from '../src/backup/index.js';
import { openKeyring } from '../src/backup/keyring.js';
import { openerOf } from '../src/backup/openers.js';
import { Repository } from '../src/backup/repository.js';
import { newBackupKey } from '../src/client/index.js';
import { openStorage } from '../src/storage/index.js';
import { MemoryStorage, Objects, Shelf, source } from './support/memory.js';

const bytes = randomStream(seed);
const large = (): string => bytes(100_000).toString('base64');
const DAY = 24 * 3_600_000;

type Bkv = (...args: string[]) => SpawnSyncReturns<string>;

describe(`a repository of backups (BKV_SEED=${seed})`, () => {
  const key = newBackupKey();
  let objects: Objects;
  let storage: MemoryStorage;
  beforeEach(() => {
    objects = new Objects();
    storage = new MemoryStorage(objects);
  });
  type Options = Parameters<typeof backupEntries>[4];
  const run = (files: Record<string, string>, options?: Options) =>
    backupEntries(source(files), 0, storage, key, options);
  const back = async (options?: Parameters<typeof restoreEntries>[3]) => {
    const shelf = new Shelf();
    return { ...(await restoreEntries(storage, shelf, key, options)), files: shelf.files };
  };
  const names = async () => (await snapshots(storage, key)).snapshots.map(({ name }) => name);
  const flip = (content: Uint8Array) => {
    content[content.length >> 1] = (content[content.length >> 1] as number) ^ 1;
    return content;
  };

  describe('keys', () => {
    const opener = openerOf(key);

    it('a new epoch reads everything and uploads nothing again', async () => {
      const files = { a: large(), b: large() };
      const old = await run(files);
      await rotate(storage, opener);
      const before = new Set(objects.paths(/^parts/));
      await run({ ...files, c: 'new' });
      const added = objects.paths(/^parts/).filter((name) => !before.has(name));
      assert.equal(added.length, 2, 'the new file, and a list of files');
      await rotate(storage, opener);
      // --force reads all files again. Their parts are found under the names of older epochs.
      await run({ ...files, c: 'new' }, { force: true });
      assert.deepEqual((await back()).files, { ...files, c: 'new' });
      assert.deepEqual((await back({ at: old.snapshot })).files, files);
      assert.deepEqual((await verify(storage, key)).damaged, []);
      assert.equal((await names()).length, 3);
    });

    it('a thief with an older epoch’s key can neither read nor name anything newer', async () => {
      await run({ a: 'old' });
      const thief = await openKeyring(storage, opener);
      await rotate(storage, opener);
      await run({ a: 'new', b: 'old' });
      const newest = (await names()).at(-1) as string;
      const sealed = objects.content.get(`snapshots/${newest}`)?.bytes as Uint8Array;
      await assert.rejects(async () => thief?.open(`snapshots/${newest}`, sealed), /damaged|another key/);
      const digest = await (await Repository.open(storage, opener)).cipher.digest(Buffer.from('new'));
      for (const epoch of thief?.epochs ?? [])
        assert.ok(
          !objects.content.has(`parts/${epoch.partName(digest, 0).slice(0, 2)}/${epoch.partName(digest, 0)}`),
        );
    });

    it('if two devices rotate at once, a new epoch joins theirs', async () => {
      await run({ a: 'a' });
      const copy = new MemoryStorage(new Objects());
      for (const [name, object] of objects.content) copy.objects.content.set(name, object);
      await rotate(storage, opener);
      await rotate(copy, opener);
      for (const [name, object] of copy.objects.content) objects.content.set(name, object);
      await run({ a: 'a', b: 'b' });
      const keyring = await openKeyring(storage, opener);
      assert.equal(keyring?.epochs.length, 4);
      assert.equal(keyring?.heads[0]?.number, 3);
      assert.deepEqual((await back()).files, { a: 'a', b: 'b' });
      assert.equal((await openKeyring(storage, opener))?.epochs.length, 4, 'joined once');
    });

    it('the last opener cannot be removed, and another key opens nothing', async () => {
      await run({ a: 'a' });
      const [only] = await listOpeners(storage, key);
      await assert.rejects(removeOpener(storage, key, only?.id as string), /last opener/);
      for (const work of [snapshots, verify])
        await assert.rejects(work(storage, newBackupKey()), /another key/);
      await assert.rejects(backupEntries(source({ a: 'a' }), 0, storage, newBackupKey()), /another key/);
    });

    it('two keys that begin one backup at once: at most one stays in use, and neither deletes the other’s objects', async () => {
      const other = newBackupKey();
      await run({ a: 'a' });
      const theirs = new MemoryStorage(new Objects());
      await backupEntries(source({ b: 'b' }), 0, theirs, other);
      for (const [name, object] of theirs.objects.content) objects.content.set(name, object);
      objects.now += 30 * DAY;
      await assert.rejects(prune(storage, key, 1, 0), /does not open/);
      // It is chance which of the two snapshots is newer.
      await back().catch(({ message }) => assert.match(message, /does not open/));
      const { snapshots: mine, locked } = await snapshots(storage, key);
      assert.deepEqual([mine.length, locked.length], [1, 1]);
      assert.deepEqual((await back({ at: mine[0]?.name as string })).files, { a: 'a' });
    });

    it('every object that a provider changes, swaps or cuts is found', async () => {
      await run({ a: 'a' });
      await rotate(storage, opener);
      await run({ a: 'b' });
      for (const name of objects.paths(/^(epochs|openers|snapshots|parts)/)) {
        for (const change of [flip, (content: Uint8Array) => content.slice(0, content.length >> 1)]) {
          const copy = new Objects();
          for (const [each, object] of objects.content) copy.content.set(each, object);
          copy.change(name, change);
          const shelf = new Shelf();
          const result = await restoreEntries(new MemoryStorage(copy), shelf, key).catch(
            (error: Error) => error,
          );
          if (result instanceof Error) assert.equal(result.name, 'BackupError', `${name}: ${result.stack}`);
          else if (!result.damaged.length) assert.deepEqual(shelf.files, { a: 'b' });
        }
      }
      const [one, two] = objects.paths(/^snapshots/) as [string, string];
      objects.content.set(two, objects.content.get(one) as never);
      await assert.rejects(back(), /is damaged/);
    });
  });

  describe('version 1', () => {
    const golden = { a: 'changed\n', key: Buffer.from('0123456789abcdef'.repeat(4), 'hex') };
    let folder: string;
    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'bkv-golden-'));
      cpSync('test/golden/backup', folder, { recursive: true });
    });
    afterEach(() => rmSync(folder, { recursive: true, force: true }));
    const restored = async (name: string, at?: string) => {
      const shelf = new Shelf();
      const to = await openStorage(join(folder, name));
      assert.deepEqual((await restoreEntries(to, shelf, golden.key, at ? { at } : {})).damaged, []);
      return shelf.files;
    };

    it('is read', async () => {
      const files = await restored('v1');
      assert.deepEqual(Object.keys(files), [
        'a/empty',
        'a/hello.txt',
        'b/c/ünïcode 👋.txt',
        'b/large',
        'b/picture.jpg',
      ]);
      assert.equal(files['a/hello.txt'], golden.a);
      const v1 = await openStorage(join(folder, 'v1'));
      const found = (await snapshots(v1, golden.key)).snapshots;
      assert.equal(found.length, 2);
      assert.equal((await restored('v1', found[0]?.name))['a/hello.txt'], 'hello\n');
      assert.deepEqual((await verify(v1, golden.key)).damaged, []);
      await assert.rejects(backupEntries(source({ a: 'a' }), 0, v1, golden.key), /bkv migrate/);
      await assert.rejects(prune(v1, golden.key, 1), /bkv migrate/);
    });

    it('is upgraded without reading or writing a part, also when the upgrade is cut off anywhere', async () => {
      const from = new Objects();
      const v1 = await openStorage(join(folder, 'v1'));
      for await (const { name } of v1.list(''))
        from.content.set(name, { bytes: (await v1.read(name, 1e7)) as Uint8Array, written: 1 });
      for (let lives = 0; ; lives++) {
        const copy = new Objects();
        for (const [name, object] of from.content) copy.content.set(name, object);
        let left = lives;
        const cut = new MemoryStorage(copy, () => {
          if (left-- <= 0) throw new Error('cut off');
        });
        const done = await migrate(cut, golden.key).catch(() => undefined);
        const whole = new MemoryStorage(copy);
        assert.equal((await snapshots(whole, golden.key)).snapshots.length, 2);
        await migrate(whole, golden.key);
        assert.ok(!cut.requests.some((request) => /parts/.test(request)));
        const again = await backupEntries(source({ 'a/hello.txt': 'new' }), 0, whole, golden.key);
        const shelf = new Shelf();
        await restoreEntries(whole, shelf, golden.key);
        assert.deepEqual(shelf.files, { 'a/hello.txt': 'new' });
        const all = await snapshots(whole, golden.key);
        assert.equal(all.snapshots.at(-1)?.name, again.snapshot);
        assert.equal(all.snapshots.length, 3);
        copy.now += 30 * DAY;
        assert.equal((await prune(whole, golden.key, 1, 0)).snapshots, 2);
        assert.deepEqual((await verify(whole, golden.key)).damaged, []);
        if (done) break;
      }
    });

    it('version 2 is read as it was written', async () => {
      const files = await restored('v2');
      assert.deepEqual(files, await restored('v1'));
      const v2 = await openStorage(join(folder, 'v2'));
      const { snapshots: found } = await snapshots(v2, golden.key);
      assert.deepEqual(
        found.map(({ name }) => name.slice(0, 13)),
        ['0001-00000001', '0002-00000002'],
      );
      assert.deepEqual((await verify(v2, golden.key)).damaged, []);
    });
  });

  describe('damage', () => {
    it('a part that is missing, cut or flipped is healed by the next backup', async () => {
      const files = { a: large(), b: large(), c: large() };
      await run(files);
      for (const name of objects.paths(/^parts/))
        for (const harm of ['missing', 'cut', 'flipped', 'longer']) {
          const { bytes } = objects.content.get(name) as { bytes: Uint8Array };
          if (harm === 'missing') objects.content.delete(name);
          else if (harm === 'cut') objects.change(name, (content) => content.slice(0, content.length - 20));
          else if (harm === 'longer') objects.change(name, (content) => Buffer.concat([content, content]));
          else objects.change(name, flip);
          await run(files);
          assert.deepEqual((await verify(storage, key)).damaged, [], `${harm} ${name}`);
          assert.deepEqual(objects.content.get(name)?.bytes, bytes);
        }
    });

    it('verify --repair deletes what is damaged, and names it', async () => {
      await run({ a: large() });
      await run({ a: large(), b: 'b' });
      const [old] = objects.paths(/^snapshots/) as [string];
      const part = objects
        .paths(/^parts/)
        .findLast((name) => (objects.content.get(name)?.bytes.length ?? 0) > 100_000);
      objects.change(part as string, flip);
      objects.change(old, flip);
      const { damaged, deleted } = await verify(storage, key, { repair: true });
      assert.ok(damaged.length > 0);
      assert.equal(deleted, 2);
      assert.ok(!objects.content.has(part as string) && !objects.content.has(old));
    });

    it('one damaged or missing copy of an epoch or opener loses nothing, and verify --repair heals it', async () => {
      const opener = openerOf(key);
      await run({ a: 'a' });
      await rotate(storage, opener);
      await run({ a: 'b' });
      const objectsOfKeys = objects.paths(/(epochs|openers)/);
      assert.equal(objectsOfKeys.length, 8);
      for (const name of objectsOfKeys)
        for (const harm of ['missing', 'cut', 'flipped', 'unreadable']) {
          const { bytes } = objects.content.get(name) as { bytes: Uint8Array };
          if (harm === 'missing') objects.content.delete(name);
          else if (harm === 'cut') objects.change(name, (content) => content.slice(0, -3));
          else if (harm === 'flipped') objects.change(name, flip);
          else objects.change(name, () => new Uint8Array(2 ** 21));
          const wrong = `${harm} ${name}`;
          assert.deepEqual((await back()).files, { a: 'b' }, wrong);
          assert.equal((await openKeyring(storage, opener))?.heads[0]?.number, 2, wrong);
          const isTold = (await verify(storage, key)).damaged.some(({ reason }) => reason.startsWith(name));
          // A missing second copy is no damage, because older backups have none.
          assert.equal(isTold, harm !== 'missing' || !name.startsWith('copies/'), wrong);
          const { damaged, healed } = await verify(storage, key, { repair: true });
          assert.deepEqual([damaged, healed.length], [[], 1], wrong);
          assert.deepEqual(objects.content.get(name)?.bytes, bytes, wrong);
        }
    });

    it('a damaged opener still opens after the key is rotated', async () => {
      const opener = openerOf(key);
      await run({ a: 'a' });
      objects.change(objects.paths(/^openers/)[0] as string, flip);
      await rotate(storage, opener);
      assert.deepEqual((await back()).files, { a: 'a' });
    });

    it('one damaged snapshot stops neither backup nor prune nor an older restore', async () => {
      const first = await run({ a: 'one' });
      await run({ a: 'two' });
      objects.change(objects.paths(/^snapshots/).at(-1) as string, flip);
      await assert.rejects(back(), /snapshot .* is damaged/);
      assert.deepEqual((await back({ at: first.snapshot })).files, { a: 'one' });
      const third = await run({ a: 'three' });
      assert.equal((await snapshots(storage, key)).damaged.length, 1);
      const pruned = await prune(storage, key, 1, 0);
      assert.deepEqual([pruned.snapshots, pruned.damaged.length], [1, 1]);
      assert.deepEqual((await back({ at: third.snapshot })).files, { a: 'three' });
    });

    it('an outage is not reported as damage', async () => {
      await run(
        Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`${i}`, bytes(600_000).toString('base64')])),
      );
      const { StorageError } = await import('../src/storage/index.js');
      let left = 3;
      const failing = new MemoryStorage(objects, (operation, name) => {
        if (operation === 'read' && name.startsWith('parts') && left-- <= 0)
          throw new StorageError('no answer');
        if (left <= 0 && name === 'bkv-backup.json') throw new StorageError('no answer');
      });
      await assert.rejects(verify(failing, key), StorageError);
      assert.ok(failing.requests.filter((request) => request.startsWith('read parts')).length < 12);
      // If one object cannot be read but others can, that object is named.
      let one = '';
      const odd = new MemoryStorage(objects, (operation, name) => {
        if (operation !== 'read' || !name.startsWith('parts')) return;
        one ||= name;
        if (name === one) throw new StorageError('500');
      });
      const { damaged } = await verify(odd, key);
      assert.deepEqual(
        damaged.map(({ path }) => path),
        [''],
      );
    });
  });

  describe('snapshots', () => {
    const at = (time: string, work: () => Promise<unknown>) => {
      const { now } = Date;
      Date.now = () => Date.parse(time);
      const RealDate = globalThis.Date;
      globalThis.Date = class extends RealDate {
        constructor(...args: [] | [number]) {
          super(...((args.length === 0 ? [RealDate.parse(time)] : args) as [number]));
        }
      } as DateConstructor;
      return work().finally(() => {
        globalThis.Date = RealDate;
        Date.now = now;
      });
    };

    it('are ordered by what each builds on, whatever the clocks said', async () => {
      const order: string[] = [];
      for (const [time, text] of [
        ['2026-01-01', 'a'],
        ['2099-01-01', 'b'],
        ['2026-01-02', 'c'],
        ['1970-01-02', 'd'],
      ] as const)
        await at(time, async () => order.push((await run({ text })).snapshot));
      assert.deepEqual(await names(), order);
      assert.deepEqual((await back()).files, { text: 'd' });
      const { snapshots: found } = await snapshots(storage, key);
      assert.equal(found[1]?.created.getUTCFullYear(), 2099);
      assert.deepEqual((await back({ at: '2026-01-01T12:00:00Z' })).files, { text: 'd' });
      await prune(storage, key, 2);
      assert.deepEqual(await names(), order.slice(2));
    });

    it('know their host and source; prune keeps some of each, and filters choose', async () => {
      for (let i = 0; i < 3; i++) {
        await run({ text: `laptop ${i}` }, { host: 'laptop', source: '/home' });
        await run({ text: `phone ${i}` }, { host: 'phone', source: '/sd' });
      }
      await run({ text: 'etc' }, { host: 'laptop', source: '/etc' });
      assert.deepEqual((await back({ host: 'laptop', source: '/home' })).files, { text: 'laptop 2' });
      assert.deepEqual((await back({ host: 'phone' })).files, { text: 'phone 2' });
      assert.equal((await snapshots(storage, key, { host: 'laptop' })).snapshots.length, 4);
      await assert.rejects(back({ host: 'nobody' }), /no snapshot of nobody/);
      assert.equal((await prune(storage, key, 1)).snapshots, 4);
      assert.deepEqual((await back({ host: 'phone' })).files, { text: 'phone 2' });
      assert.equal((await names()).length, 3);
    });

    it('prune never deletes the last good one', async () => {
      const files = { a: large(), b: large() };
      const good = await run(files, { host: 'h' });
      await backupEntries(
        () => [...source({ a: 'x' })(), { path: 'b', type: 'left out', reason: 'EACCES' }],
        0,
        storage,
        key,
        { host: 'h' },
      );
      await run({}, { host: 'h', allowEmpty: true });
      assert.equal((await prune(storage, key, 1, 0)).snapshots, 0);
      assert.deepEqual((await back({ at: good.snapshot })).files, files);
      await run({ a: 'whole' }, { host: 'h' });
      assert.equal((await prune(storage, key, 1, 0)).snapshots, 3);
      const names = [...objects.content.keys()];
      for (const name of names) if (name.startsWith('snapshots/')) await storage.delete(name);
      await assert.rejects(prune(storage, key, 1, 0), /no snapshot that can be read/);
      assert.deepEqual(
        [...objects.content.keys()],
        names.filter((name) => !name.startsWith('snapshots/')),
      );
    });
  });

  describe('prune', () => {
    it('a prune reads each snapshot once and each list at most twice; a look reads the newest snapshot', async () => {
      const files: Record<string, string> = {};
      for (let i = 0; i < 8000; i++) files[`a rather long name of a file ${10_000 + i}`] = '';
      const runs = 6;
      for (let i = 0; i < runs; i++) await run({ ...files, zz: `${i}` });
      const lists = (await snapshots(storage, key)).snapshots.map(({ list }) => list);
      assert.ok((lists[0]?.length ?? 0) > 2, 'snapshots have lists in common');
      storage.requests.length = 0;
      assert.equal((await prune(storage, key, 4, 0)).snapshots, 2);
      const reads = (folder: string) => storage.requests.filter((one) => one.startsWith(`read ${folder}/`));
      assert.equal(reads('snapshots').length, runs);
      // The lists of the newest snapshot are also read to see whether all its parts are there.
      assert.ok(
        reads('parts').length <= (lists[0]?.length ?? 0) * 2 + runs,
        `${reads('parts').length} lists`,
      );
      storage.requests.length = 0;
      const { newest } = await identify(storage, key);
      assert.equal(reads('snapshots').length, 1);
      assert.equal(newest, (await names()).at(-1));
    });

    it('marks, waits a day by the clock of the storage, and deletes', async () => {
      await run({ a: large() });
      await run({ b: 'b' });
      assert.equal((await prune(storage, key, 1)).marked, 0, 'all is young');
      objects.now += 2 * DAY;
      const { marked, parts } = await prune(storage, key, 1);
      assert.deepEqual([marked, parts], [2, 0]);
      objects.now += DAY / 2;
      assert.equal((await prune(storage, key, 1)).parts, 0);
      objects.now += DAY;
      assert.equal((await prune(storage, key, 1)).parts, 2);
      objects.now += 9 * DAY;
      await prune(storage, key, 1);
      assert.deepEqual(objects.paths(/^(marks|claims)/), []);
      assert.deepEqual((await back()).files, { b: 'b' });
    });

    it('a part that is needed again while it is marked is stored under another name', async () => {
      const files = { a: large() };
      await run(files);
      await run({ b: 'b' });
      objects.now += 2 * DAY;
      await prune(storage, key, 1);
      await run(files);
      objects.now += 2 * DAY;
      assert.ok((await prune(storage, key, 5)).parts > 0);
      assert.deepEqual((await back()).files, files);
      assert.deepEqual((await verify(storage, key)).damaged, []);
    });

    it('the claim of a killed run is given up after a week', async () => {
      await run({ a: 'a' });
      let lives = 14;
      const killed = new MemoryStorage(objects, () => {
        if (lives-- <= 0) throw new Error('killed');
      });
      await backupEntries(source({ b: large() }), 0, killed, key).catch(() => undefined);
      objects.now += 30 * DAY;
      for (let i = 0; i < 3; i++) {
        await prune(storage, key, 1);
        objects.now += 10 * DAY;
      }
      assert.deepEqual(objects.paths(/^claims/), []);
      assert.deepEqual((await verify(storage, key)).damaged, []);
    });
  });

  /** Runs `bkv` with the key on a device that remembers, in the folder `work`, what it has seen. */
  async function onADevice(use: (bkv: Bkv, work: string) => Promise<void> | void): Promise<void> {
    const work = mkdtempSync(join(tmpdir(), 'bkv-seen-'));
    try {
      writeFileSync(join(work, 'key'), Buffer.from(key).toString('hex'));
      await use(
        (...args) =>
          spawnSync(process.execPath, ['dist/src/cli/main.js', ...args, '--key-file', join(work, 'key')], {
            encoding: 'utf8',
            env: { ...process.env, XDG_STATE_HOME: join(work, 'state') },
          }),
        work,
      );
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }

  it('nothing is written under keys older than those that this device has seen', () =>
    onADevice(async (bkv, work) => {
      const cloud = join(work, 'cloud');
      const backup = (...args: string[]) => bkv('backup', 'docs/formats', cloud, ...args);
      const everything = () => readdirSync(cloud, { recursive: true, encoding: 'utf8' }).sort();
      assert.equal(backup().status, 0);
      cpSync(cloud, join(work, 'old'), { recursive: true });
      await rotate(await openStorage(cloud), openerOf(key));
      // A look at the snapshots is enough to have seen the new key.
      assert.equal(bkv('snapshots', cloud).status, 0);
      rmSync(cloud, { recursive: true });
      cpSync(join(work, 'old'), cloud, { recursive: true });
      const before = everything();
      for (const { status, stderr } of [backup('--force'), bkv('prune', cloud, '--keep', '1', '--now')]) {
        assert.match(stderr, /has seen newer keys of this backup, and the storage shows older ones/);
        assert.equal(status, 1);
      }
      assert.deepEqual(everything(), before);
      assert.match(bkv('snapshots', cloud).stderr, /has seen newer keys/);
      assert.equal(backup('--accept-older-keys').status, 0);
      assert.equal(backup().status, 0, 'it is accepted from then on');
    }));

  it('an old state is recognized by the key, whatever header the storage shows', () =>
    onADevice(async (bkv, work) => {
      const cloud = join(work, 'cloud');
      const write = (text: string) => {
        rmSync(join(work, 'source'), { recursive: true, force: true });
        cpSync('docs', join(work, 'source'), { recursive: true });
        writeFileSync(join(work, 'source', 'x'), text);
      };
      write('1');
      assert.equal(bkv('backup', join(work, 'source'), cloud).status, 0);
      cpSync(cloud, join(work, 'old'), { recursive: true });
      rmSync(cloud, { recursive: true });
      // Make another backup with the same key in the same place. Later, the provider brings the old one back.
      assert.match(bkv('backup', join(work, 'source'), cloud).stderr, /another backup was here/);
      write('2');
      assert.equal(bkv('backup', join(work, 'source'), cloud).stderr, '');
      rmSync(cloud, { recursive: true });
      cpSync(join(work, 'old'), cloud, { recursive: true });
      assert.match(bkv('snapshots', cloud).stderr, /another backup was here, with snapshot 0001-00000002/);
      // Two backups with one key in two places cause no warning.
      assert.equal(bkv('backup', join(work, 'source'), join(work, 'second')).stderr, '');
      assert.equal(bkv('snapshots', join(work, 'second')).stderr, '');
      for (const name of readdirSync(join(work, 'state', 'bkv'))) {
        assert.equal(statSync(join(work, 'state', 'bkv', name)).mode & 0o077, 0);
        assert.ok(!readFileSync(join(work, 'state', 'bkv', name), 'utf8').includes('cloud'));
      }
    }));
});
