import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomStream, seed } from '../rig/random.js';
import * as backups from '../src/backup/index.js';
import { formatKey, newBackupKey, parseKey } from '../src/client/index.js';
import * as files from '../src/files/index.js';
import { openStorage } from '../src/storage/index.js';

const api = { ...backups, ...files };
const { BackupError } = api;
type Rest<F extends (...args: never[]) => unknown> = F extends (first: never, ...rest: infer R) => unknown
  ? R
  : never;
const backup = async (source: string, cloud: string, key: Uint8Array) =>
  api.backup(source, await openStorage(cloud), key);
const restore = async (cloud: string, ...rest: Rest<typeof api.restore>) =>
  api.restore(await openStorage(cloud), ...rest);
const snapshots = async (cloud: string, key: Uint8Array) => api.snapshots(await openStorage(cloud), key);
const verify = async (cloud: string, key: Uint8Array) => api.verify(await openStorage(cloud), key);
const prune = async (cloud: string, ...rest: Rest<typeof api.prune>) =>
  api.prune(await openStorage(cloud), ...rest);

const bytes = randomStream(seed);

describe(`backup (BKV_SEED=${seed})`, () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-backup-'));
  const key = newBackupKey();
  const source = join(work, 'source');
  before(async () => {
    for (const folder of ['messages', 'pictures/2026', 'videos', 'empty'])
      mkdirSync(join(source, folder), { recursive: true });
    writeFileSync(join(source, 'messages/ünïcode 👋.txt'), 'hello\n');
    writeFileSync(join(source, 'messages/nothing'), '');
    for (let i = 0; i < 200; i++)
      writeFileSync(join(source, `pictures/2026/${i}.jpg`), bytes(1 + ((i * 7919) % 50_000)), {
        mode: 0o640,
      });
    writeFileSync(join(source, 'videos/exactly-a-part.mp4'), bytes(4 * 1024 * 1024));
    writeFileSync(join(source, 'videos/long.mp4'), bytes(9_000_001));
    symlinkSync('../videos/long.mp4', join(source, 'pictures/link'));
    await backup(source, join(work, 'cloud'), key);
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  const files = (below: string): string[] => readdirSync(below, { recursive: true, encoding: 'utf8' }).sort();

  it('restores every byte, mode and time', async () => {
    await restore(join(work, 'cloud'), join(work, 'restored'), key);
    execFileSync('diff', ['-r', '--no-dereference', source, join(work, 'restored')]);
    const list = (folder: string) =>
      files(folder).map((name) => {
        const { mode, mtimeMs } = lstatSync(join(folder, name));
        return name.endsWith('link') ? name : [name, mode, Math.round(mtimeMs)];
      });
    assert.deepEqual(list(join(work, 'restored')), list(source));
  });

  it('stores the same content once', async () => {
    const before = files(join(work, 'cloud', 'parts')).length;
    await backup(source, join(work, 'cloud'), key);
    assert.equal(files(join(work, 'cloud', 'parts')).length, before);
  });

  it('shows no name and no content', () => {
    for (const name of files(join(work, 'cloud'))) {
      assert.doesNotMatch(name, /mp4|jpg|2026\/|messages/);
      const path = join(work, 'cloud', name);
      if (/[0-9a-f]{16}$/.test(name)) assert.ok(!readFileSync(path).includes('hello'));
    }
  });

  it('refuses another key', async () => {
    await assert.rejects(restore(join(work, 'cloud'), join(work, 'x1'), newBackupKey()), BackupError);
  });

  it('never writes into a folder that holds something', async () => {
    await assert.rejects(restore(join(work, 'cloud'), source, key), /not empty/);
    await assert.rejects(backup(join(work, 'cloud'), source, key), /not empty and not a backup/);
  });
});

describe(`incremental backups (BKV_SEED=${seed})`, () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-incremental-'));
  const key = newBackupKey();
  const source = join(work, 'source');
  const cloud = join(work, 'cloud');
  const parts = (of = cloud): string[] =>
    existsSync(join(of, 'parts'))
      ? readdirSync(join(of, 'parts'), { recursive: true, encoding: 'utf8' }).filter((name) =>
          /[0-9a-f]{64}$/.test(name),
        )
      : [];
  const stored = (): number =>
    parts().reduce((sum, name) => sum + lstatSync(join(cloud, 'parts', name)).size, 0);
  const same = (restored: string, expected = source) =>
    execFileSync('diff', ['-r', '--no-dereference', expected, restored]);
  const names: string[] = [];
  before(async () => {
    for (const folder of ['a', 'a b', 'a/b', 'videos']) mkdirSync(join(source, folder), { recursive: true });
    for (let i = 0; i < 300; i++)
      writeFileSync(join(source, ['a', 'a b', 'a/b'][i % 3] as string, `${i}.jpg`), bytes(20_000));
    writeFileSync(join(source, 'videos', 'long.mp4'), bytes(20_000_000));
    names.push((await backup(source, cloud, key)).snapshot);
  });
  after(() => rmSync(work, { recursive: true, force: true }));

  it('the second backup reads and stores only what changed', async () => {
    const before = stored();
    const again = await backup(source, cloud, key);
    assert.equal(again.changed, 0);
    assert.ok(stored() - before < 100_000, 'no more than a new list of files');
    names.push(again.snapshot);

    cpSync(source, join(work, 'second'), { recursive: true, preserveTimestamps: true });
    writeFileSync(join(source, 'a', '0.jpg'), bytes(20_000));
    writeFileSync(join(source, 'a b', 'new.jpg'), bytes(30_000));
    rmSync(join(source, 'a/b', '2.jpg'));
    const descriptor = openSync(join(source, 'videos', 'long.mp4'), 'r+');
    writeSync(descriptor, 'changed in the middle', 10_000_000);
    closeSync(descriptor);
    const middle = stored();
    const changed = await backup(source, cloud, key);
    assert.equal(changed.changed, 3);
    assert.ok(stored() - middle < 4_500_000, 'one part of the video, the pictures, a list of files');
    names.push(changed.snapshot);
    await restore(cloud, join(work, 'r3'), key);
    same(join(work, 'r3'));
  });

  it('lists its snapshots, and restores an older one', async () => {
    const found = await snapshots(cloud, key);
    assert.deepEqual(
      found.snapshots.map(({ name }) => name),
      names,
    );
    assert.deepEqual(found.damaged, []);
    await restore(cloud, join(work, 'r2'), key, { at: names[1] as string });
    same(join(work, 'r2'), join(work, 'second'));
    const at = found.snapshots[1]?.created.toISOString() as string;
    assert.equal((await restore(cloud, join(work, 'r2-time'), key, { at })).snapshot, names[1]);
    await assert.rejects(restore(cloud, join(work, 'r9'), key, { at: '1999-01-01' }), /no snapshot of/);
    await assert.rejects(restore(cloud, join(work, 'r9'), key, { at: 'nonsense' }), /names 0 snapshots/);
  });

  it('a run that was killed leaves the backup as it was, and the next one goes on with its parts', async function () {
    this.timeout(120_000);
    const big = join(work, 'big');
    const target = join(work, 'big-cloud');
    mkdirSync(big);
    for (let i = 0; i < 6; i++) writeFileSync(join(big, `${i}.mp4`), bytes(40_000_000));
    const keyFile = join(work, 'key');
    writeFileSync(keyFile, formatKey(key));
    const child = spawn(process.execPath, [
      'dist/src/cli/main.js',
      ...['backup', big, target, '--key-file', keyFile],
    ]);
    while (parts(target).length < 10) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
    const left = parts(target);
    assert.ok(left.length < 60, 'it was cut off');
    await assert.rejects(restore(target, join(work, 'x'), key), /no finished backup/);
    const times = left.map((name) => lstatSync(join(target, 'parts', name)).mtimeMs);
    await backup(big, target, key);
    assert.deepEqual(
      left.map((name) => lstatSync(join(target, 'parts', name)).mtimeMs),
      times,
      'a part was written again',
    );
    await restore(target, join(work, 'big-restored'), key);
    same(join(work, 'big-restored'), big);
  });

  it('names what is damaged, and restores the rest', async () => {
    const newest = (await snapshots(cloud, key)).snapshots.at(-1)?.name;
    const copy = join(work, 'damaged');
    const pristine = () => {
      rmSync(copy, { recursive: true, force: true });
      cpSync(cloud, copy, { recursive: true });
    };
    const partOf = async (wanted: RegExp) => {
      // Delete each part in turn: a file that is then damaged is stored in that part.
      for (const name of parts()) {
        pristine();
        rmSync(join(copy, 'parts', name));
        const { damaged } = await verify(copy, key);
        if (damaged.some(({ path, snapshot }) => wanted.test(path) && snapshot === newest)) return name;
      }
      throw new Error('no part holds it');
    };
    const video = await partOf(/long\.mp4/);
    const flip = (path: string) => {
      const sealed = readFileSync(path);
      sealed[sealed.length >> 1] = (sealed[sealed.length >> 1] as number) ^ 1;
      writeFileSync(path, sealed);
    };
    for (const [name, harm, reason] of [
      ['a flipped bit', () => flip(join(copy, 'parts', video)), /part [0-9a-f]{64} is damaged/],
      ['a missing part', () => rmSync(join(copy, 'parts', video)), /part [0-9a-f]{64} is missing/],
      [
        'the part of another backup of the same content',
        async () => {
          await backup(source, join(work, 'other'), newBackupKey());
          const [other] = parts(join(work, 'other')) as [string];
          cpSync(join(work, 'other', 'parts', other), join(copy, 'parts', video));
        },
        /part [0-9a-f]{64} is damaged, or of another key/,
      ],
    ] as const) {
      pristine();
      await harm();
      const { damaged } = await verify(copy, key);
      assert.deepEqual(new Set(damaged.map(({ path }) => path)), new Set(['videos/long.mp4']), name);
      const restored = join(work, `rest of ${name}`);
      const summary = await restore(copy, restored, key);
      assert.match(summary.damaged[0]?.reason ?? '', reason, name);
      assert.deepEqual(
        summary.damaged.map(({ path }) => path),
        ['videos/long.mp4'],
        name,
      );
      assert.ok(!existsSync(join(restored, 'videos/long.mp4')), name);
      execFileSync('diff', ['-r', '--no-dereference', '-x', 'long.mp4', source, restored]);
    }
  });

  it('an old snapshot under a newer name is found, and so is one that the storage has dropped', async () => {
    const copy = join(work, 'rolled-back');
    cpSync(cloud, copy, { recursive: true });
    const [old, newest] = [names[0] as string, names[2] as string];
    cpSync(join(copy, 'snapshots', old), join(copy, 'snapshots', newest));
    assert.deepEqual((await snapshots(copy, key)).damaged, [newest]);
    await assert.rejects(restore(copy, join(work, 'x2'), key), /snapshot .* is damaged/);
    assert.equal((await restore(copy, join(work, 'r1'), key, { at: old })).files, 300 + 1);

    const keyFile = join(work, 'key');
    const bkv = (...args: string[]) =>
      spawnSync(process.execPath, ['dist/src/cli/main.js', ...args, '--key-file', keyFile], {
        encoding: 'utf8',
        env: { ...process.env, XDG_STATE_HOME: join(work, 'state') },
      });
    assert.equal(bkv('snapshots', cloud).status, 0);
    rmSync(join(copy, 'snapshots', newest));
    const { stderr, status } = bkv('snapshots', copy);
    assert.match(stderr, new RegExp(`has seen snapshot ${newest}, and the newest there is ${names[1]}`));
    assert.equal(status, 0);
    assert.equal(bkv('verify', cloud).status, 0);
    rmSync(join(copy, 'parts'), { recursive: true });
    assert.equal(bkv('verify', copy).status, 1);
  });

  it('stores a file again if the storage has lost its part', async () => {
    const copy = join(work, 'lossy');
    cpSync(cloud, copy, { recursive: true });
    // Lose every part except those of the list of files.
    for (const name of parts()) {
      const path = join(copy, 'parts', name);
      const sealed = readFileSync(path);
      rmSync(path);
      if ((await verify(copy, key)).damaged.some((damage) => damage.path === '')) writeFileSync(path, sealed);
    }
    assert.ok((await backup(source, copy, key)).changed > 0);
    const newest = (await snapshots(copy, key)).snapshots.at(-1)?.name;
    assert.ok((await verify(copy, key)).damaged.every(({ snapshot }) => snapshot !== newest));
    await restore(copy, join(work, 'from-lossy'), key);
    same(join(work, 'from-lossy'));
  });

  it('prunes old snapshots and what only they need, never what a running backup has just written', async () => {
    const { snapshots, parts: none } = await prune(cloud, key, 1);
    assert.deepEqual([snapshots, none], [2, 0]);
    const before = parts().length;
    const { parts: deleted } = await prune(cloud, key, 1, 0);
    assert.ok(deleted >= 2);
    assert.equal(parts().length, before - deleted);
    assert.deepEqual((await verify(cloud, key)).damaged, []);
    await restore(cloud, join(work, 'after'), key);
    same(join(work, 'after'));
    await assert.rejects(prune(cloud, key, 0), /at least one/);
  });
});

describe('64 digits', () => {
  it('are read back with and without check digits, spaces and capitals', () => {
    const key = newBackupKey();
    const text = formatKey(key);
    assert.deepEqual(parseKey(text), key);
    assert.deepEqual(parseKey(text.toUpperCase().replace(/\s/g, '-')), key);
    assert.deepEqual(parseKey(Buffer.from(key).toString('hex')), key);
  });

  it('catch every single mistyped digit and every swap of neighbours', () => {
    const text = formatKey(newBackupKey()).replace(/\s/g, '');
    for (let i = 0; i < text.length; i++) {
      for (const digit of i % 18 < 16 ? '0123456789abcdef' : '0123456789') {
        if (digit === text[i]) continue;
        assert.throws(
          () => parseKey(text.slice(0, i) + digit + text.slice(i + 1)),
          /line \d of the key is mistyped/,
        );
      }
      if (i % 18 >= 15 || text[i] === text[i + 1]) continue;
      assert.throws(() => parseKey(text.slice(0, i) + text[i + 1] + text[i] + text.slice(i + 2)), /mistyped/);
    }
  });
});

describe('bkv', () => {
  const bkv = (args: string[], input = '') =>
    spawnSync(process.execPath, ['dist/src/cli/main.js', ...args], { input, encoding: 'utf8' });

  it('explains a wrong use and ends with an exit code', () => {
    const { status, stderr } = bkv(['status']);
    assert.equal(status, 2);
    assert.match(stderr, /--vault/);
    for (const [typed, wrong] of [
      ['not a key', /line 1, character 1: "n" is not a digit of a key/],
      ['1234 5678 9abc', /these are 12: 52 digits are missing/],
      ['', /there are no digits/],
    ] as const) {
      const shown = bkv(['key', 'show'], `${typed}\n`);
      assert.equal(shown.status, 2);
      assert.match(shown.stderr, wrong);
    }
    assert.equal(bkv(['restore', '/nowhere', '/tmp/x'], `${'ab'.repeat(32)}\n`).status, 1);
  });

  it('shows a key from standard input', () => {
    assert.match(bkv(['key', 'show'], `${'ab'.repeat(32)}\n`).stdout, /^abab abab abab abab {2}\d\d\n/);
  });
});
