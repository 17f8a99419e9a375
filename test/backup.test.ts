import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BackupError, backup, restore } from '../src/backup/index.js';
import { formatKey, newBackupKey, parseKey } from '../src/client/index.js';

const seed = Number(process.env.BKV_SEED ?? Date.now() % 2 ** 31);

/** Bytes that a seed decides. */
const stream = createCipheriv('aes-256-ctr', Buffer.alloc(32, String(seed)), Buffer.alloc(16));
const bytes = (n: number): Buffer => stream.update(Buffer.alloc(n));

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

  it('tells no name and no content', () => {
    for (const name of files(join(work, 'cloud'))) {
      assert.doesNotMatch(name, /mp4|jpg|2026\/|messages/);
      const path = join(work, 'cloud', name);
      if (/[0-9a-f]{16}$/.test(name)) assert.ok(!readFileSync(path).includes('hello'));
    }
  });

  it('refuses another key, a flipped bit and a missing part, and names what is wrong', async () => {
    await assert.rejects(restore(join(work, 'cloud'), join(work, 'x1'), newBackupKey()), BackupError);
    const part = files(join(work, 'cloud', 'parts')).find((name) => /[0-9a-f]{64}$/.test(name)) as string;
    const path = join(work, 'cloud', 'parts', part);
    const good = readFileSync(path);
    const bad = Buffer.from(good);
    bad[bad.length >> 1] = (bad[bad.length >> 1] as number) ^ 1;
    writeFileSync(path, bad);
    await assert.rejects(restore(join(work, 'cloud'), join(work, 'x2'), key), /part [0-9a-f]{64} is damaged/);
    rmSync(path);
    await assert.rejects(restore(join(work, 'cloud'), join(work, 'x3'), key), /part [0-9a-f]{64} is missing/);
    writeFileSync(path, good);
  });

  it('never writes into a folder that holds something', async () => {
    await assert.rejects(restore(join(work, 'cloud'), source, key), /not empty/);
    await assert.rejects(backup(join(work, 'cloud'), source, key), /not empty and not a backup/);
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
    assert.equal(bkv(['key', 'show'], 'not a key\n').status, 1);
    assert.equal(bkv(['restore', '/nowhere', '/tmp/x'], `${'ab'.repeat(32)}\n`).status, 1);
  });

  it('shows a key from standard input', () => {
    assert.match(bkv(['key', 'show'], `${'ab'.repeat(32)}\n`).stdout, /^abab abab abab abab {2}\d\d\n/);
  });
});
