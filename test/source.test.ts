import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  existsSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomStream, seed } from '../rig/random.js';
import { backupEntries } from '../src/backup/index.js';
import { formatKey, newBackupKey } from '../src/client/index.js';
import { backup, restore } from '../src/files/index.js';
import { ACL, hasXattr, readXattr as read, writeXattr } from '../src/files/xattr.js';
import { openStorage } from '../src/storage/index.js';

const bytes = randomStream(seed);
const readXattr = (path: string) => read(path, assert.fail);
const isRoot = process.getuid?.() === 0;
/** A user who may not read everything. */
const NOBODY = 65534;

describe(`what is backed up (BKV_SEED=${seed})`, () => {
  const key = newBackupKey();
  let work: string;
  let source: string;
  let cloud: string;
  beforeEach(() => {
    work = mkdtempSync(join(tmpdir(), 'bkv-source-'));
    source = join(work, 'source');
    cloud = join(work, 'cloud');
    mkdirSync(source);
    writeFileSync(join(work, 'key'), formatKey(key));
  });
  afterEach(() => rmSync(work, { recursive: true, force: true }));

  const run = async (options: Parameters<typeof backup>[3] = {}) =>
    backup(source, await openStorage(cloud), key, options);
  const back = async (options: Parameters<typeof restore>[3] = {}) => {
    const to = mkdtempSync(join(work, 'restored-'));
    return { ...(await restore(await openStorage(cloud), to, key, options)), to };
  };
  const bkv = (
    args: string[],
    { asNobody = false, env = {} }: { asNobody?: boolean; env?: NodeJS.ProcessEnv } = {},
  ) => {
    const command = [process.execPath, 'dist/src/cli/main.js', ...args, '--key-file', join(work, 'key')];
    const setpriv = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];
    const [program, ...rest] = (asNobody && isRoot ? [...setpriv, ...command] : command) as [
      string,
      ...string[],
    ];
    return spawnSync(program, rest, {
      encoding: 'utf8',
      env: { ...process.env, XDG_STATE_HOME: join(work, 'state'), ...env },
    });
  };

  it('goes on past what cannot be read, names it, and ends with its own exit code', async () => {
    mkdirSync(join(source, 'secret'));
    writeFileSync(join(source, 'secret', 'within'), 'x');
    writeFileSync(join(source, 'forbidden'), 'x');
    writeFileSync(join(source, 'good'), 'good');
    execFileSync('mkfifo', [join(source, 'fifo')]);
    const server = createServer().listen(join(source, 'socket'));
    await new Promise((resolve) => server.once('listening', resolve));
    chmodSync(join(source, 'secret'), 0);
    chmodSync(join(source, 'forbidden'), 0);
    chmodSync(work, 0o777);
    const { status, stdout, stderr } = bkv(['backup', source, cloud], { asNobody: true });
    server.close();
    assert.equal(status, 5, stderr);
    for (const path of ['secret', 'forbidden', 'fifo', 'socket'])
      assert.match(stdout, new RegExp(`left out: ${path} \\(`));
    assert.match(stdout, /1 file /);
    assert.match(bkv(['snapshots', cloud]).stdout, /4 left out/);
    const { to, files } = await back();
    assert.equal(files, 1);
    assert.equal(readFileSync(join(to, 'good'), 'utf8'), 'good');
  });

  it('names are bytes: of files, folders and targets of links', async () => {
    const raw = (name: string) => Buffer.concat([Buffer.from(`${source}/`), Buffer.from(name, 'latin1')]);
    const names = [
      'caf\xe9.txt',
      'half \xe2\x82',
      'euro \xe2\x82\xac',
      'surrogate \xed\xb2\x80',
      '\x01 tab\t',
      'back\\slash',
      'C:',
    ];
    for (const name of names) writeFileSync(raw(name), name);
    mkdirSync(raw('fold\xff'));
    writeFileSync(raw('fold\xff/in\xfe'), 'within');
    symlinkSync(Buffer.from('caf\xe9.txt', 'latin1'), raw('link'));
    writeFileSync(join(source, '\ufffd'), 'the character itself');
    assert.deepEqual((await run()).leftOut, []);
    const { to, damaged, notes } = await back();
    assert.deepEqual([damaged, notes], [[], []]);
    const list = (folder: string | Buffer) =>
      readdirSync(folder, { encoding: 'buffer' })
        .map((name) => name.toString('latin1'))
        .sort();
    assert.deepEqual(list(to), list(source));
    const at = (name: string) => Buffer.concat([Buffer.from(`${to}/`), Buffer.from(name, 'latin1')]);
    for (const name of names) assert.equal(readFileSync(at(name), 'utf8'), name);
    assert.equal(readFileSync(at('fold\xff/in\xfe'), 'utf8'), 'within');
    assert.equal(readlinkSync(at('link'), { encoding: 'buffer' }).toString('latin1'), 'caf\xe9.txt');
    assert.equal((await run()).changed, 0);
  });

  it('a path longer than the system’s limit is backed up and restored', async function () {
    if (process.platform !== 'linux') return this.skip();
    // The shell enters each folder in turn, because the system refuses the whole path.
    const deep = 'd'.repeat(200);
    const down = (at: string, then: string) =>
      execFileSync('bash', ['-c', `cd '${at}' && for i in $(seq 100); do ${then}; done`]);
    down(source, `mkdir ${deep} && cd ${deep} && echo $i > file && ln -s file link`);
    try {
      assert.deepEqual((await run()).leftOut, []);
      const { to, files, damaged, notes } = await back();
      assert.deepEqual([files, damaged, notes], [100, [], []]);
      down(to, `cd ${deep} && [ "$(cat link)" = $i ]`);
      execFileSync('rm', ['-rf', to]);
    } finally {
      execFileSync('rm', ['-rf', join(source, deep)]);
    }
  });

  it('a file that vanishes meanwhile is left out', async () => {
    for (const name of ['a', 'b', 'c']) writeFileSync(join(source, name), bytes(5_000_000));
    const { leftOut, files } = await run({ progress: () => rmSync(join(source, 'b'), { force: true }) });
    assert.deepEqual(
      leftOut.map(({ path }) => path),
      ['b'],
    );
    assert.equal(files, 2);
    assert.deepEqual((await back()).damaged, []);
  });

  it('a file that changes while it is read is read again, and named if it goes on changing', async () => {
    const file = join(source, 'log');
    writeFileSync(file, bytes(9_000_000));
    let changes = 1;
    const change = () => {
      if (changes-- <= 0) return;
      writeFileSync(file, bytes(9_000_000));
    };
    assert.deepEqual((await run({ progress: change })).leftOut, []);
    const { to } = await back();
    assert.ok(readFileSync(join(to, 'log')).equals(readFileSync(file)), 'both halves are of the same time');
    changes = 100;
    const { leftOut } = await run({ progress: change, force: true });
    assert.match(leftOut[0]?.reason ?? '', /changed each time/);
    changes = 0;
    assert.equal((await run()).changed, 1, 'it is not taken for unchanged');
  });

  it('a file of the same size and time is found changed, also within one tick of the clock', async () => {
    const file = join(source, 'file');
    const time = new Date('2026-01-01');
    writeFileSync(file, 'first');
    utimesSync(file, time, time);
    await run();
    writeFileSync(file, 'other');
    utimesSync(file, time, time);
    assert.equal((await run()).changed, 1);
    assert.equal(readFileSync(join((await back()).to, 'file'), 'utf8'), 'other');
    assert.equal((await run()).changed, 0);
    assert.equal((await run({ force: true })).changed, 1);
  });

  it('refuses a source without files, unless that is asked for', async () => {
    await assert.rejects(run(), /no file to back up.*--allow-empty/);
    mkdirSync(join(source, 'folder'));
    writeFileSync(join(source, 'folder', 'file'), 'x');
    await run();
    rmSync(join(source, 'folder', 'file'));
    await assert.rejects(run(), /is the disk not mounted/);
    assert.equal(bkv(['backup', source, cloud]).status, 1);
    assert.equal((await back()).files, 1);
    assert.equal((await run({ allowEmpty: true })).files, 0);
  });

  it('leaves out what is excluded, caches, and the backup itself', async () => {
    for (const folder of ['cache', 'no cache', 'node_modules', 'a/node_modules', 'a/b'])
      mkdirSync(join(source, folder), { recursive: true });
    for (const file of [
      'cache/big',
      'no cache/x',
      'node_modules/x',
      'a/node_modules/x',
      'a/b/x.tmp',
      'a/b/x',
      'a/keep',
    ])
      writeFileSync(join(source, file), file);
    writeFileSync(
      join(source, 'cache', 'CACHEDIR.TAG'),
      'Signature: 8a477f597d28d172789f06886806bc55\n# this',
    );
    writeFileSync(join(source, 'no cache', 'CACHEDIR.TAG'), 'something else');
    cloud = join(source, 'a', 'backup');
    const args = [
      'backup',
      source,
      cloud,
      '--exclude',
      'node_modules',
      '--exclude',
      '*.tmp',
      '--exclude',
      '/a/b/x',
    ];
    const { status, stdout } = bkv(args);
    assert.equal(status, 0, stdout);
    assert.match(stdout, /skipped: cache \(a cache/);
    assert.match(stdout, /skipped: a\/backup \(this backup itself/);
    assert.match(bkv(args).stdout, /3 files .* 0 new or changed/);
    const { to } = await back();
    const found = readdirSync(to, { recursive: true, encoding: 'utf8' }).filter((name) =>
      lstatSync(join(to, name)).isFile(),
    );
    assert.deepEqual(found.sort(), ['a/keep', 'no cache/CACHEDIR.TAG', 'no cache/x']);
    assert.ok((await run({ withCaches: true })).files > 3);
    cloud = source;
    await assert.rejects(run(), /into itself/);
  });

  it('hard links, holes, old times, sticky folders and links keep what they are', async () => {
    writeFileSync(join(source, 'one'), 'same');
    linkSync(join(source, 'one'), join(source, 'two'));
    writeFileSync(join(source, 'sparse'), 'begin');
    truncateSync(join(source, 'sparse'), 50 * 1024 * 1024);
    writeFileSync(join(source, 'old'), 'x');
    const old = new Date('1965-03-04T05:06:07.250Z');
    utimesSync(join(source, 'old'), old, old);
    mkdirSync(join(source, 'sticky'));
    chmodSync(join(source, 'sticky'), 0o1777);
    symlinkSync('one', join(source, 'link'));
    chmodSync(source, 0o711);
    await run();
    const parts = readdirSync(join(cloud, 'parts'), { recursive: true, encoding: 'utf8' });
    assert.ok(parts.length < 10, 'zeros are not stored');
    const { to, damaged, notes } = await back();
    assert.deepEqual([damaged, notes], [[], []]);
    assert.equal(statSync(join(to, 'one')).ino, statSync(join(to, 'two')).ino);
    assert.equal(statSync(join(to, 'sparse')).size, 50 * 1024 * 1024);
    assert.ok(statSync(join(to, 'sparse')).blocks * 512 < 10_000_000);
    assert.ok(readFileSync(join(to, 'sparse')).equals(readFileSync(join(source, 'sparse'))));
    assert.equal(statSync(join(to, 'old')).mtimeMs, old.getTime());
    assert.equal(statSync(join(to, 'sticky')).mode & 0o7777, 0o1777);
    assert.equal(statSync(to).mode & 0o7777, 0o711);
    for (const name of ['one', 'sparse', 'link'])
      assert.ok(
        Math.abs(lstatSync(join(to, name)).mtimeMs - lstatSync(join(source, name)).mtimeMs) < 0.01,
        name,
      );
  });

  it('of a large image with holes, only the content is read', async function () {
    if (process.platform !== 'linux') return this.skip();
    const [size, middle] = [64 * 1024 ** 3, 40 * 1024 ** 3 + 12345];
    const image = openSync(join(source, 'image'), 'w');
    for (const at of [0, middle]) writeSync(image, `content at ${at}`, at);
    ftruncateSync(image, size);
    closeSync(image);
    const read = () => Number(/rchar: (\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))?.[1]);
    const before = read();
    assert.equal((await run()).bytes, size);
    assert.ok(read() - before < 100_000_000, `${read() - before} bytes were read`);
    const { to, damaged } = await back();
    assert.deepEqual(damaged, []);
    const restored = openSync(join(to, 'image'), 'r');
    for (const at of [0, middle]) {
      const found = Buffer.alloc(100);
      readSync(restored, found, 0, found.length, at);
      assert.equal(found.toString().replace(/\0+$/, ''), `content at ${at}`);
    }
    closeSync(restored);
    const { size: length, blocks } = statSync(join(to, 'image'));
    assert.deepEqual([length, blocks * 512 < 20_000_000], [size, true]);
  });

  describe('extended attributes and ACLs', () => {
    const OWNER_GROUP_OTHERS = [0x01, 0x04, 0x20];
    const [USER, MASK] = [0x02, 0x10];
    /** POSIX ACL of Linux: the owner reads and writes, user 4321 reads, the group and all others nothing. */
    const acl = () => {
      const bytes = Buffer.alloc(4 + 5 * 8);
      bytes.writeUInt32LE(2);
      const rows = [
        [OWNER_GROUP_OTHERS[0], 6, -1],
        [USER, 4, 4321],
        [OWNER_GROUP_OTHERS[1], 0, -1],
        [MASK, 4, -1],
        [OWNER_GROUP_OTHERS[2], 0, -1],
      ] as [number, number, number][];
      for (const [i, [tag, permissions, id]] of rows.entries()) {
        bytes.writeUInt16LE(tag, 4 + i * 8);
        bytes.writeUInt16LE(permissions, 6 + i * 8);
        bytes.writeInt32LE(id, 8 + i * 8);
      }
      return bytes.toString('base64url');
    };
    const give = (path: string, name: string, value: string) => {
      const file = openSync(path, 'r');
      try {
        writeXattr(file, name, value);
      } finally {
        closeSync(file);
      }
    };
    const text = Buffer.from('\0 any bytes \xff', 'latin1').toString('base64url');

    beforeEach(function () {
      if (!hasXattr()) return this.skip();
      mkdirSync(join(source, 'folder'));
      for (const name of ['folder/file', 'plain', 'fold\u00e9'])
        writeFileSync(join(source, name), 'x', { mode: 0o600 });
      try {
        give(join(source, 'folder/file'), 'user.note', text);
      } catch {
        this.skip();
      }
      give(join(source, 'folder/file'), ACL, acl());
      give(join(source, 'folder'), 'user.of folder', text);
      give(join(source, 'folder'), 'system.posix_acl_default', acl());
    });

    it('are kept', async () => {
      assert.equal(statSync(join(source, 'folder/file')).mode & 0o777, 0o640, 'the bits of the mask');
      await run();
      const { to, damaged, notes } = await back();
      assert.deepEqual([damaged, notes], [[], []]);
      for (const name of ['', 'folder', 'folder/file', 'plain']) {
        assert.deepEqual(readXattr(join(to, name)), readXattr(join(source, name)), name);
        assert.equal(statSync(join(to, name)).mode, statSync(join(source, name)).mode, name);
      }
      assert.equal(readXattr(join(to, 'folder/file'))?.['user.note'], text);
    });

    it('that cannot be read are reported once, with their number, and no file is left out', () => {
      const library = join(work, 'refuses.so');
      const code = `#include <errno.h>\n#include <string.h>
        long llistxattr(const char *path, char *names, unsigned long size) {
          if (strstr(path, "plain")) { errno = EACCES; return -1; }
          memcpy(names, "user.one\\0user.two", 18); return 18;
        }
        long lgetxattr(const char *path, const char *name, char *value, unsigned long size) {
          if (strstr(name, "one")) { errno = EINVAL; return -1; }
          *value = 'x'; return 1;
        }`;
      writeFileSync(join(work, 'refuses.c'), code);
      execFileSync('cc', ['-w', '-shared', '-fPIC', '-o', library, join(work, 'refuses.c')]);
      const { status, stdout } = bkv(['backup', source, cloud], { env: { LD_PRELOAD: library } });
      assert.equal(status, 0, stdout);
      const told = stdout.match(/skipped: .*/g);
      assert.deepEqual(told?.length, 2);
      assert.match(stdout, /cannot be read, 1 times EACCES/);
      assert.match(stdout, /cannot be read, 4 times EINVAL/);
      assert.match(stdout, /3 files/);
    });

    it('are backed up when only they have changed', async () => {
      await run();
      give(join(source, 'plain'), 'user.later', text);
      await run();
      assert.deepEqual(readXattr(join((await back()).to, 'plain')), { 'user.later': text });
    });

    it('those that only the system sets are reported and left out, unless owners are wanted', async function () {
      if (!isRoot) return this.skip();
      // cap_net_raw=ep
      const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex').toString('base64url');
      give(join(source, 'plain'), 'security.capability', capability);
      await run();
      const { to, notes } = await back();
      assert.equal(readXattr(join(to, 'plain')), undefined);
      assert.match(notes[0]?.reason ?? '', /^1 extended attributes that the system alone sets/);
      const owners = await back({ owners: true });
      assert.deepEqual(readXattr(join(owners.to, 'plain')), { 'security.capability': capability });
    });

    it('if the ACL is refused, the group gets no more than it had, and the refusal is named', async () => {
      const entries = [
        { path: '', type: 'directory' as const, mode: 0o755, mtime: 1 },
        {
          path: 'file',
          type: 'file' as const,
          mode: 0o640,
          mtime: 1,
          size: 1,
          // Linux refuses an ACL of an unknown version.
          xattr: {
            [ACL]: Buffer.from(acl(), 'base64url').fill(9, 0, 1).toString('base64url'),
            'no.such': text,
          },
          open: async () => ({ read: () => 0, close: async () => undefined }),
        },
      ];
      await backupEntries(() => entries, 0, await openStorage(cloud), key);
      const { to, notes } = await back({ owners: true });
      assert.equal(statSync(join(to, 'file')).mode & 0o777, 0o600);
      assert.deepEqual(
        notes.map(({ path, reason }) => [path, reason.replace(/ was refused.*/, '')]),
        [
          ['file', 'extended attribute no.such'],
          ['file', `extended attribute ${ACL}`],
        ],
      );
    });
  });

  it('a folder that is swapped for a link meanwhile is not followed', async function () {
    if (process.platform !== 'linux') return this.skip();
    mkdirSync(join(source, 'a'));
    mkdirSync(join(work, 'secrets'));
    for (const name of ['1', '2']) writeFileSync(join(source, 'a', name), bytes(5_000_000));
    writeFileSync(join(work, 'secrets', '2'), 'of somebody else');
    let swapped = false;
    const progress = () => {
      if (swapped) return;
      swapped = true;
      renameSync(join(source, 'a'), join(source, 'b'));
      symlinkSync(join(work, 'secrets'), join(source, 'a'));
    };
    const { leftOut } = await run({ progress });
    const { to } = await back();
    assert.deepEqual(leftOut, []);
    assert.equal(readFileSync(join(to, 'a', '2')).length, 5_000_000);
  });

  it('the reading of a file that grows faster than it is read ends', async () => {
    writeFileSync(join(source, 'log'), bytes(5_000_000));
    const { leftOut } = await run({ progress: () => appendFileSync(join(source, 'log'), bytes(5_000_000)) });
    assert.match(leftOut[0]?.reason ?? '', /changed each time/);
    assert.ok(statSync(join((await back()).to, 'log')).size >= 5_000_000);
  });

  it('an unwritable home is a warning', () => {
    writeFileSync(join(source, 'x'), 'x');
    const file = join(work, 'no folder');
    writeFileSync(file, '');
    const { status, stderr } = bkv(['backup', source, cloud], { env: { XDG_STATE_HOME: file } });
    assert.match(stderr, /^warning: /);
    assert.equal(status, 0);
  });

  it('a folder that cannot be synced is not an error (CIFS, FUSE); a disk that fails is', function () {
    if (process.platform !== 'linux') return this.skip();
    const library = join(work, 'no-folder-sync.so');
    execFileSync('cc', ['-shared', '-fPIC', '-o', library, 'test/support/no-folder-sync.c', '-ldl']);
    writeFileSync(join(source, 'x'), 'x');
    const { EINVAL, ENOSYS, EIO } = constants.errno;
    for (const [error, expected] of [
      [EINVAL, 0],
      [ENOSYS, 0],
      [EIO, 1],
    ]) {
      const env = { LD_PRELOAD: library, BKV_SYNC_ERROR: String(error) };
      const { status, stderr } = bkv(['backup', source, join(work, `cloud ${error}`)], { env });
      assert.equal(status, expected, stderr);
      if (expected !== 0) assert.match(stderr, /EIO/);
    }
  });

  it('a backup on a full disk is pruned, and one that is read-only says so', async function () {
    mkdirSync(cloud);
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=12m', 'none', cloud]).status !== 0) return this.skip();
    try {
      const ends = (expected: number, ...args: string[]) => {
        const { status, stdout, stderr } = bkv(args);
        assert.equal(status, expected, `${args[0]}: ${stdout}${stderr}`);
        return stdout + stderr;
      };
      for (const expected of [0, 0, 1]) {
        writeFileSync(join(source, 'file'), bytes(5_000_000));
        const said = ends(expected, 'backup', source, cloud);
        if (expected === 1) assert.match(said, /no space left .*make room, run bkv prune/);
      }
      // Fill the disk completely.
      spawnSync('dd', ['if=/dev/zero', `of=${join(cloud, 'filler')}`, 'bs=4k']);
      const pruned = ends(0, 'prune', cloud, '--keep', '1', '--now');
      assert.match(pruned, /deleted: 1 snapshot, [1-9]\d* parts?\n/);
      // The room that the deleted snapshot freed must also hold a claim and the prune's mark, hence the smaller file.
      writeFileSync(join(source, 'file'), bytes(4_900_000));
      ends(0, 'backup', source, cloud);
      ends(0, 'verify', cloud);
      execFileSync('mount', ['-o', 'remount,ro', cloud]);
      writeFileSync(join(source, 'other'), bytes(100));
      assert.match(ends(1, 'backup', source, cloud), /^bkv: EROFS: read-only file system/);
      ends(0, 'snapshots', cloud);
    } finally {
      execFileSync('umount', [cloud]);
    }
  });

  it('a pattern that can match nothing is refused', () => {
    writeFileSync(join(source, 'x'), 'x');
    for (const pattern of ['', '/', './'])
      assert.equal(bkv(['backup', source, cloud, '--exclude', pattern]).status, 2);
  });

  it('a FIFO in the place of a file does not stop it', async () => {
    writeFileSync(join(source, 'a'), bytes(5_000_000));
    writeFileSync(join(source, 'b'), 'x');
    const { leftOut } = await run({
      progress: () => {
        if (existsSync(join(work, 'moved'))) return;
        renameSync(join(source, 'b'), join(work, 'moved'));
        execFileSync('mkfifo', [join(source, 'b')]);
      },
    });
    assert.deepEqual(leftOut, [{ path: 'b', reason: 'it is a FIFO' }]);
  });

  it('leftovers of an interrupted write do not make it refuse, and are cleaned up', async () => {
    writeFileSync(join(source, 'x'), 'x');
    mkdirSync(join(cloud, 'parts', 'ab'), { recursive: true });
    const left = ['bkv-backup.json.01234567.tmp', 'parts/ab/cd.89abcdef.tmp'].map((name) =>
      join(cloud, name),
    );
    for (const path of left) {
      writeFileSync(path, 'cut off');
      utimesSync(path, 1, 1);
    }
    await run();
    await run();
    assert.ok(!existsSync(left[1] as string));
    assert.equal((await back()).files, 1);
  });
});
