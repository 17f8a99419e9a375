import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomStream, seed } from '../rig/random.js';
import { backupEntries, type Entry, restoreEntries, unsafePath } from '../src/backup/index.js';
import { formatKey, newBackupKey } from '../src/client/index.js';
import { Folders } from '../src/files/folders.js';
import { backup, restore } from '../src/files/index.js';
import { openStorage } from '../src/storage/index.js';
import { MemoryStorage, source as memorySource, Objects, Shelf } from './support/memory.js';

const bytes = randomStream(seed);
const isRoot = process.getuid?.() === 0;

describe(`restoring (BKV_SEED=${seed})`, () => {
  const key = newBackupKey();
  let work: string;
  let source: string;
  let cloud: string;
  let to: string;
  beforeEach(() => {
    work = mkdtempSync(join(tmpdir(), 'bkv-restore-'));
    [source, cloud, to] = ['source', 'cloud', 'to'].map((name) => join(work, name)) as [
      string,
      string,
      string,
    ];
    mkdirSync(source);
    writeFileSync(join(work, 'key'), formatKey(key));
  });
  afterEach(() => rmSync(work, { recursive: true, force: true }));

  const run = async () => backup(source, await openStorage(cloud), key);
  const back = async (options: Parameters<typeof restore>[3] = {}) =>
    restore(await openStorage(cloud), to, key, options);
  const command = (...args: string[]) => ['dist/src/cli/main.js', ...args, '--key-file', join(work, 'key')];
  const env = () => ({ ...process.env, XDG_STATE_HOME: join(work, 'state') });
  const bkv = (...args: string[]) =>
    spawnSync(process.execPath, command(...args), { encoding: 'utf8', env: env() });
  const list = (folder: string) => readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
  const same = () => execFileSync('diff', ['-r', '--no-dereference', source, to]);

  /** Makes a backup with a forged list of files. */
  const forged = async (entries: Partial<Entry>[]) =>
    backupEntries(
      () =>
        entries.map((entry) => {
          const [file] = memorySource({ [entry.path as string]: 'evil' })();
          return (
            entry.type === 'file' ? { ...file, ...entry } : { mtime: 1, mode: 0o755, ...entry }
          ) as never;
        }),
      0,
      await openStorage(cloud),
      key,
    );

  describe('a list of files that tries to escape from the destination', () => {
    it('does not write through a link that it made itself', async () => {
      mkdirSync(join(work, 'outside'));
      await forged([
        { path: 'a', type: 'symlink', target: join(work, 'outside') },
        { path: 'a/x', type: 'file' },
        { path: 'b', type: 'directory' },
        { path: 'b/up', type: 'symlink', target: '..' },
        { path: 'b/up/y', type: 'file' },
        { path: 'good', type: 'file' },
      ]);
      await back();
      assert.deepEqual(list(join(work, 'outside')), []);
      // Links are made last, and only where nothing else is.
      assert.ok(lstatSync(join(to, 'a')).isDirectory());
      assert.ok(lstatSync(join(to, 'b', 'up')).isDirectory());
      assert.equal(readFileSync(join(to, 'good'), 'utf8'), 'evil');
    });

    it('does not write through a link that was there before', async () => {
      mkdirSync(join(work, 'outside'));
      mkdirSync(to);
      symlinkSync(join(work, 'outside'), join(to, 'd'));
      symlinkSync(join(work, 'victim'), join(to, 'f'));
      await forged([
        { path: 'd', type: 'directory', mode: 0o777 },
        { path: 'd/x', type: 'file' },
        { path: 'f', type: 'file' },
      ]);
      const { damaged } = await back({ overwrite: 'always' });
      assert.deepEqual(damaged.map(({ path }) => path).sort(), ['d', 'd/x']);
      assert.deepEqual(list(join(work, 'outside')), []);
      assert.ok(!existsSync(join(work, 'victim')));
      assert.ok(lstatSync(join(to, 'f')).isFile());
    });

    it('does not write into a link or folder that another program puts in a folder’s place meanwhile', async function () {
      if (process.platform !== 'linux') return this.skip();
      for (const name of ['a', 'z']) {
        mkdirSync(join(source, name));
        for (const file of ['1', '2']) writeFileSync(join(source, name, file), bytes(5_000_000));
      }
      chmodSync(join(source, 'a'), 0o700);
      await run();
      mkdirSync(join(work, 'outside'), { mode: 0o755 });
      let swapped = false;
      const { damaged, notes } = await back({
        progress: () => {
          if (swapped) return;
          swapped = true;
          renameSync(join(to, 'a'), join(to, 'moved'));
          symlinkSync(join(work, 'outside'), join(to, 'a'));
        },
      });
      assert.deepEqual(list(join(work, 'outside')), []);
      assert.equal(statSync(join(work, 'outside')).mode & 0o777, 0o755, 'nor is its mode changed');
      // The files went into the original folder, which was moved.
      assert.deepEqual(list(join(to, 'moved')), ['1', '2']);
      assert.deepEqual([damaged, notes], [[], []]);
    });

    for (const byDescriptor of [true, false])
      it(`a folder that is replaced by another is noticed${byDescriptor ? '' : ', also without open descriptors'}`, function () {
        if (byDescriptor && process.platform !== 'linux') return this.skip();
        const names = Array.from({ length: 100 }, (_, i) => `d${i}`);
        for (const name of names) mkdirSync(join(source, name, 'below'), { recursive: true });
        const folders = new Folders(source, byDescriptor);
        // These are more folders than are kept open at a time.
        for (const name of names) assert.ok(existsSync(folders.entry(`${name}/below/x`)) === false);
        renameSync(join(source, 'd0'), join(source, 'other'));
        symlinkSync('other', join(source, 'd0'));
        assert.throws(() => folders.entry('d0/below/x'), /d0 is no longer a folder|not a directory|ELOOP/);
        rmSync(join(source, 'd0'));
        mkdirSync(join(source, 'd0', 'below'), { recursive: true });
        assert.throws(() => folders.entry('d0/below/x'), /replaced by another folder/);
        folders.close();
      });

    for (const path of ['../x', '/etc/x', 'a/../../x', './x', 'a//x', 'a/', '..', 'nul\0byte'])
      it(`refuses ${JSON.stringify(path)}, names it and goes on`, async () => {
        await forged([
          { path, type: 'file' },
          { path: 'good', type: 'file' },
        ]);
        const { damaged } = await back();
        assert.deepEqual(
          damaged.map((each) => each.path),
          [path],
        );
        assert.deepEqual(list(to), ['good']);
        assert.deepEqual(
          list(work),
          list(work).filter((name) => !name.endsWith('x')),
        );
      });

    it('two entries with one name, and entries below a file, are refused', async () => {
      await forged([
        { path: 'a', type: 'file' },
        { path: 'a', type: 'file' },
        { path: 'a/b', type: 'file' },
        { path: 'z', type: 'file' },
      ]);
      const { damaged, files } = await back();
      assert.deepEqual([damaged.map(({ path }) => path), files], [['a', 'a/b'], 2]);
    });

    it('a file just restored is not replaced by a later entry of that name, as where A and a are one name', async () => {
      await forged([
        { path: 'a', type: 'file' },
        { path: 'a', type: 'file' },
        { path: 'd', type: 'directory' },
        { path: 'd/x', type: 'file' },
        { path: 'd/x', type: 'file' },
        { path: 'z', type: 'file' },
      ]);
      for (let i = 0; i < 2; i++) {
        const { damaged } = await back({ overwrite: 'always' });
        // In the second round, the files were there before, so they may be replaced.
        const expected = i === 0 ? ['a', 'd/x'] : [];
        assert.deepEqual(
          damaged.map(({ path }) => path),
          expected,
        );
      }
    });

    it('setuid and setgid are not kept, unless that is asked for', async () => {
      await forged([
        { path: 'tool', type: 'file', mode: 0o6755 },
        { path: 'folder', type: 'directory', mode: 0o2777 },
      ]);
      const { notes } = await back();
      assert.equal(statSync(join(to, 'tool')).mode & 0o7777, 0o755);
      assert.equal(statSync(join(to, 'folder')).mode & 0o7777, 0o777);
      assert.match(notes[0]?.reason ?? '', /2 files and folders had setuid/);
      to = join(work, 'privileged');
      await back({ owners: true });
      assert.equal(statSync(join(to, 'tool')).mode & 0o7777, 0o6755);
    });

    it('names that mean another place on another system are refused there', () => {
      for (const path of [
        'a\\b',
        'C:',
        'C:x',
        'a:stream',
        'con',
        'nul.txt',
        'a/LPT1',
        'dot.',
        'space ',
        'a\u0001',
        'a?',
      ])
        assert.ok(unsafePath(path, 'win32'), path);
      for (const path of ['a\\b', 'C:', 'con', 'dot.', 'a/b.txt', 'ü']) {
        assert.equal(unsafePath(path, 'linux'), undefined, path);
        assert.equal(unsafePath('a/b.txt', 'win32'), undefined);
      }
      for (const platform of ['win32', 'linux', 'darwin']) assert.ok(unsafePath('a/../b', platform));
    });

    it('an object longer than a part is not read into memory', async () => {
      const objects = new Objects();
      const storage = new MemoryStorage(objects);
      await backupEntries(memorySource({ a: 'a' }), 0, storage, key);
      for (const name of objects.paths(/^(parts|snapshots)/))
        objects.change(name, (content) => Buffer.concat([content, Buffer.alloc(5_000_000)]));
      await assert.rejects(restoreEntries(storage, new Shelf(), key), /damaged|longer/);
    });
  });

  it('no file is accessible to others before it has its own mode', async () => {
    mkdirSync(join(source, 'private'));
    writeFileSync(join(source, 'private', 'file'), bytes(9_000_000), { mode: 0o600 });
    chmodSync(join(source, 'private'), 0o700);
    chmodSync(source, 0o700);
    await run();
    const seen = new Set<string>();
    process.umask(0);
    await back({
      progress: () => {
        for (const name of ['', ...list(to)]) seen.add((statSync(join(to, name)).mode & 0o077).toString(8));
      },
    });
    process.umask(0o022);
    assert.deepEqual([...seen], ['0']);
    assert.equal(statSync(to).mode & 0o777, 0o700);
  });

  it('goes on past what is damaged or refused, names it, and ends with its own exit code', async () => {
    writeFileSync(join(source, 'large'), bytes(4_194_304));
    writeFileSync(join(source, 'small'), 'small');
    await run();
    const parts = list(join(cloud, 'parts')).filter((name) => name.length > 60);
    const large = parts.find((name) => statSync(join(cloud, 'parts', name)).size > 4_000_000) as string;
    rmSync(join(cloud, 'parts', large));
    // A folder takes the part's place and cannot be read as a part.
    mkdirSync(join(cloud, 'parts', large));
    const { status, stdout } = bkv('restore', cloud, to);
    assert.equal(status, 5);
    assert.match(stdout, /not restored: large \(.*cannot be read/);
    assert.deepEqual(list(to), ['small']);
  });

  it('owners that the system refuses are named, and the content is restored', async function () {
    if (!isRoot) return this.skip();
    writeFileSync(join(source, 'mine'), 'x');
    await run();
    chmodSync(work, 0o777);
    execFileSync('chmod', ['-R', 'a+rX', cloud]);
    const args = ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath];
    const { status, stdout } = spawnSync('setpriv', [...args, ...command('restore', cloud, to, '--owners')], {
      encoding: 'utf8',
      env: env(),
    });
    assert.match(stdout, /note: mine \(EPERM/);
    assert.equal(status, 0);
    assert.equal(readFileSync(join(to, 'mine'), 'utf8'), 'x');
  });

  it('goes on when the disk is full with what still fits, and can be resumed', async function () {
    for (const [name, size] of [
      ['a', 1_000_000],
      ['b', 30_000_000],
      ['c', 1_000_000],
      ['d', 3_000_000],
    ] as const)
      writeFileSync(join(source, name), bytes(size));
    await run();
    mkdirSync(to);
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'none', to]).status !== 0) return this.skip();
    try {
      const { status, stdout } = bkv('restore', cloud, to);
      assert.equal(status, 5, stdout);
      assert.match(stdout, /not restored: b \(the disk is full\)/);
      assert.deepEqual(list(to), ['a', 'c', 'd']);
      execFileSync('mount', ['-o', 'remount,size=80m', to]);
      assert.equal(bkv('restore', cloud, to, '--resume').status, 0);
      same();
    } finally {
      execFileSync('umount', [to]);
    }
  });

  it('a destination that cannot be written is reported once, and plainly', async () => {
    writeFileSync(join(source, 'a'), 'a');
    writeFileSync(join(source, 'b'), 'b');
    await run();
    symlinkSync('nowhere', to);
    await assert.rejects(back(), /^BackupError: nothing can be restored to .*to: ENOENT|DestinationError/);
    const { status, stdout, stderr } = bkv('restore', cloud, to);
    assert.deepEqual([status, stdout], [1, '']);
    assert.match(stderr, /^bkv: nothing can be restored to/);
    for (const inside of [cloud, join(cloud, 'new', 'folder')])
      await assert.rejects(
        restore(await openStorage(cloud), inside, key, { overwrite: 'always' }),
        /lies in the backup itself/,
      );
    symlinkSync(cloud, join(work, 'link'));
    to = join(work, 'link', 'x');
    await assert.rejects(back(), /lies in the backup itself/);
  });

  it('is resumed after it was killed, and fetches nothing twice', async function () {
    this.timeout(120_000);
    for (let i = 0; i < 12; i++) writeFileSync(join(source, `${i}`.padStart(2, '0')), bytes(20_000_000));
    mkdirSync(join(source, 'shut'));
    writeFileSync(join(source, 'shut', 'file'), 'x');
    chmodSync(join(source, 'shut'), 0o500);
    await run();
    const child = spawn(process.execPath, command('restore', cloud, to), { env: env() });
    while (!existsSync(join(to, '02'))) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
    const left = list(to);
    assert.ok(left.length < 12, 'it was cut off');
    const { ino } = statSync(join(to, '01'));
    await assert.rejects(back(), /--resume/);
    writeFileSync(join(to, '11'), 'of mine');
    const { damaged } = await back({ resume: true });
    assert.deepEqual(
      damaged.map(({ path }) => path),
      ['11'],
      'what is another stays',
    );
    assert.equal(readFileSync(join(to, '11'), 'utf8'), 'of mine');
    await back({ overwrite: 'always' });
    same();
    assert.deepEqual(list(to), list(source), 'nothing half is left');
    assert.notEqual(ino, 0);
  });

  it('--overwrite never, older and always', async () => {
    for (const name of ['new', 'old', 'alike', 'absent']) writeFileSync(join(source, name), `backup ${name}`);
    symlinkSync('backup', join(source, 'link'));
    await run();
    const fill = () => {
      rmSync(to, { recursive: true, force: true });
      mkdirSync(to);
      for (const name of ['new', 'old', 'mine']) writeFileSync(join(to, name), 'there');
      symlinkSync('there', join(to, 'link'));
      utimesSync(join(to, 'old'), 1, 1);
      utimesSync(join(to, 'new'), new Date('2100-01-01'), new Date('2100-01-01'));
    };
    const texts = () => ['new', 'old', 'mine', 'absent'].map((name) => readFileSync(join(to, name), 'utf8'));
    fill();
    await assert.rejects(back(), /not empty/);
    await back({ overwrite: 'never' });
    assert.deepEqual(texts(), ['there', 'there', 'there', 'backup absent']);
    assert.equal(readlinkSync(join(to, 'link')), 'there');
    fill();
    await back({ overwrite: 'older' });
    assert.deepEqual(texts(), ['there', 'backup old', 'there', 'backup absent']);
    fill();
    await back({ overwrite: 'always' });
    assert.deepEqual(texts(), ['backup new', 'backup old', 'there', 'backup absent']);
    assert.equal(readlinkSync(join(to, 'link')), 'backup');
    assert.notEqual(bkv('restore', cloud, to, '--overwrite', 'sometimes').status, 0);
  });

  it('restores into a read-only folder, which stays read-only', async function () {
    if (!isRoot) return this.skip();
    mkdirSync(join(source, 'locked'));
    for (const name of ['a', 'b']) writeFileSync(join(source, 'locked', name), `backup ${name}`);
    chmodSync(join(source, 'locked'), 0o555);
    await run();
    chmodSync(work, 0o777);
    execFileSync('chmod', ['-R', 'a+rX', cloud]);
    for (const [overwrite, expected] of [
      ['always', 'backup a'],
      ['never', 'there'],
    ]) {
      rmSync(to, { recursive: true, force: true });
      mkdirSync(join(to, 'locked'), { recursive: true });
      writeFileSync(join(to, 'locked', 'a'), 'there');
      execFileSync('chown', ['-R', '65534:65534', to]);
      for (const folder of [join(to, 'locked'), to]) chmodSync(folder, 0o555);
      const program = ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath];
      const args = [...program, ...command('restore', cloud, to, '--overwrite', overwrite as string)];
      const { status, stdout } = spawnSync('setpriv', args, { encoding: 'utf8', env: env() });
      assert.equal(status, 0, stdout);
      assert.equal(readFileSync(join(to, 'locked', 'a'), 'utf8'), expected);
      assert.equal(readFileSync(join(to, 'locked', 'b'), 'utf8'), 'backup b');
      assert.equal(statSync(join(to, 'locked')).mode & 0o777, 0o555);
    }
  });

  it('--only reads what it needs, with the folders above', async () => {
    const objects = new Objects();
    const files: Record<string, string> = {};
    for (let i = 0; i < 4000; i++) files[`folder ${i % 40}/file ${i} ${'x'.repeat(100)}`] = `content ${i}`;
    for (let i = 0; i < 5; i++)
      files[`videos/${i}`] = bytes(4_194_304).toString('latin1').slice(0, 4_000_000);
    await backupEntries(memorySource(files), 0, new MemoryStorage(objects), key);
    const storage = new MemoryStorage(objects);
    const shelf = new Shelf();
    const wanted = 'folder 7/file 7 '.concat('x'.repeat(100));
    const { damaged } = await restoreEntries(storage, shelf, key, { only: [wanted] });
    assert.deepEqual(damaged, []);
    assert.deepEqual(shelf.files, { [wanted]: 'content 7' });
    const read = storage.requests.filter((request) => request.startsWith('read parts/'));
    assert.ok(read.length <= 3, `${read.length} of ${objects.paths(/^parts/).length} parts were read`);
    assert.ok(objects.paths(/^parts/).length > 8);
    const folder = new Shelf();
    await restoreEntries(new MemoryStorage(objects), folder, key, { only: ['folder 7', 'videos/3'] });
    assert.equal(Object.keys(folder.files).length, 101);
    const none = await restoreEntries(new MemoryStorage(objects), new Shelf(), key, {
      only: ['folder 7/nothing'],
    });
    assert.match(none.damaged[0]?.reason ?? '', /no such file or folder/);
  });

  it('--only on the command line', async () => {
    mkdirSync(join(source, 'a', 'b'), { recursive: true });
    for (const name of ['a/b/c', 'a/d', 'e']) writeFileSync(join(source, name), name);
    await run();
    assert.equal(bkv('restore', cloud, to, '--only', './a/b/', '--only', '/e').status, 0);
    assert.deepEqual(list(to), ['a', 'a/b', 'a/b/c', 'e']);
    assert.equal(bkv('restore', cloud, join(work, 'none'), '--only', 'x').status, 5);
  });
});
