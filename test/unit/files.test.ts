import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expectNew, readText } from '../../src/cli/file.js';
import { FolderDestination } from '../../src/files/destination.js';
import { expectRoomForSockets } from '../../src/keeper/socket/index.js';
import {
  makeFolder,
  printable,
  printableLines,
  writeFileAtomic,
  writeFileAtomicSync,
} from '../../src/process/index.js';
import { FolderStorage } from '../../src/storage/folder.js';

it('a file that cannot be put in its place leaves nothing beside it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'bkv-files-'));
  const path = join(folder, 'taken');
  mkdirSync(path);
  try {
    await assert.rejects(writeFileAtomic(path, 'a secret'), { code: 'EISDIR' });
    assert.throws(() => writeFileAtomicSync(path, 'a secret'), { code: 'EISDIR' });
    assert.deepEqual(readdirSync(folder), ['taken']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it('no folder is tried for ever where none can be made', async () => {
  assert.throws(() => makeFolder('/proc/none/in/it'), { code: 'ENOENT' });
  const destination = new FolderDestination('/proc/none/in/it', {});
  const folder = { path: '', type: 'directory', mode: 0o700, mtime: 0 } as const;
  assert.throws(() => destination.make(folder), /nothing can be restored to \/proc/);
  const storage = new FolderStorage('/proc/none');
  await assert.rejects(
    storage.write('parts/ab/cd', new Uint8Array(1)),
    /name a place where folders can be made/,
  );
});

it('a folder whose path is too long for a Unix socket is refused before a keeper goes on duty', () => {
  expectRoomForSockets(`/${'a'.repeat(88)}`);
  assert.throws(() => expectRoomForSockets(`/${'a'.repeat(89)}`), { code: 'usage' });
});

it('a file has the text of one writer, though several write it at once', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'bkv-files-'));
  const path = join(folder, 'backup.json');
  const texts = Array.from({ length: 8 }, (_, i) => String(i).repeat(1_000_000 + i));
  try {
    await Promise.all(texts.map((text) => writeFileAtomic(path, text)));
    assert.ok(texts.includes(readFileSync(path, 'utf8')));
    writeFileAtomicSync(path, 'last');
    assert.equal(readFileSync(path, 'utf8'), 'last');
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(folder), ['backup.json']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it('a file without an end is no file of the user', () => {
  for (const path of ['/dev/zero', '/dev/urandom'])
    assert.throws(() => readText(path), { code: 'usage', message: /more than 1048576 bytes/ });
});

it('a file that cannot be written is refused before anything is typed', () => {
  for (const path of ['/none/key', '/dev/null/key', '/dev/full'])
    assert.throws(() => expectNew(path), { code: 'usage' }, path);
});

it('nothing that is printed controls the terminal', () => {
  assert.equal(printable('a\x1b[2J\n\x9b1m'), 'a\\x1b[2J\\x0a\\x9b1m');
  assert.equal(printableLines('a\x1b[2J\nb'), 'a\\x1b[2J\nb');
});
