import { type Command, Option } from 'commander';
import { type BackupKey, migrate, type Problem, prune, snapshots } from '../backup/index.js';
import { backup, check, restore } from '../files/index.js';
import { INCOMPLETE, UsageError } from './errors.js';
import { type OpenerFlags, readOpener, withOpener } from './opener-input.js';
import { progressBar } from './progress.js';
import { say } from './say.js';
import { compareWithSeen, seenEpoch } from './seen.js';
import { withStorage } from './storages.js';

const counted = (files: number): string => `${files} ${files === 1 ? 'file' : 'files'}`;

const size = (bytes: number): string =>
  bytes < 1e6
    ? `${Math.ceil(bytes / 1e3)} kB`
    : bytes < 1e9
      ? `${(bytes / 1e6).toFixed(1)} MB`
      : `${(bytes / 1e9).toFixed(2)} GB`;

const several = (value: string, before: string[] = []): string[] => [...before, value];

function patterns(value: string, before?: string[]): string[] {
  if (/^[./]*$/.test(value)) throw new UsageError(`--exclude "${value}" names nothing within the folder`);
  return several(value, before);
}

const withOrigin = (command: Command): Command =>
  command
    .option('--host <name>', 'only snapshots of this device')
    .option('--source <folder>', 'only snapshots of this folder');

export function backupCommands(program: Command): void {
  withOpener(
    program
      .command('backup <folder> <backup>')
      .description('encrypt a folder into a backup; only what changed since the last time is stored')
      .option('--exclude <pattern>', 'leave this out: *.tmp, node_modules, /cache (again for more)', patterns)
      .option('--with-caches', 'take folders that are marked as caches (CACHEDIR.TAG), too')
      .option('--force', 'read every file, also when its size and times are as they were')
      .option('--allow-empty', 'the folder holds no file, and that is right')
      .option('--host <name>', "this device's name in the snapshot; without it the system's")
      .option('--accept-older-keys', 'write although this device has seen newer keys of this backup'),
  ).action(async (folder: string, destination: string, flags) =>
    run(folder, destination, ...(await opened(flags))),
  );

  withOrigin(
    withOpener(
      program
        .command('restore <backup> <folder>')
        .description('decrypt a backup into a new folder')
        .option('--at <snapshot>', 'a snapshot of bkv snapshots, or a time; without it the newest')
        .option('--only <path>', 'only this file or folder of the backup (again for more)', several)
        .option('--resume', 'go on with a restore into this folder that was cut off')
        .addOption(
          new Option('--overwrite <which>', 'restore among other files, replacing these').choices([
            'never',
            'older',
            'always',
          ]),
        )
        .option('--owners', 'also owners, and the bits setuid and setgid; wants root'),
    ),
  ).action(async (source: string, folder: string, flags) =>
    restoreTo(source, folder, ...(await opened(flags))),
  );

  withOrigin(
    withOpener(program.command('snapshots <backup>').description('list what was backed up, and when')),
  ).action(async (source: string, flags) => list(source, ...(await opened(flags))));

  withOpener(
    program
      .command('verify <backup>')
      .description('read a backup through and name every file that could not be restored')
      .option('--repair', 'delete what is damaged, so that the next backup stores it anew'),
  ).action(async (source: string, { repair, ...flags }) =>
    verify(source, await readOpener(flags), repair === true),
  );

  withOpener(
    program
      .command('prune <backup>')
      .description('delete old snapshots, and what only they need')
      .requiredOption('--keep <n>', 'how many of the newest snapshots of each device and folder stay')
      .option(
        '--now',
        'delete at once what nobody needs, and not a day later; other devices may have to begin anew',
      ),
  ).action(async (source: string, { keep, now, ...flags }) =>
    reduce(source, await readOpener(flags), keep, now === true),
  );

  withOpener(
    program
      .command('migrate <backup>')
      .description('move a backup of version 1 to this one; nothing is uploaded again'),
  ).action(async (source: string, flags) => move(source, await readOpener(flags)));
}

/** What opens the backup, and the flags that are not about that. */
async function opened<T extends OpenerFlags>(flags: T): Promise<[BackupKey, Omit<T, keyof OpenerFlags>]> {
  const { keyFile: _, pieceFile: __, pieces: ___, ...rest } = flags;
  return [await readOpener(flags), rest];
}

type BackupFlags = Pick<
  Parameters<typeof backup>[3] & object,
  'exclude' | 'withCaches' | 'force' | 'allowEmpty' | 'host'
> & { acceptOlderKeys?: boolean };

function run(
  folder: string,
  destination: string,
  key: BackupKey,
  { acceptOlderKeys = false, ...flags }: BackupFlags,
): Promise<void> {
  return withStorage(destination, async (storage) => {
    const progress = progressBar('encrypting');
    const { files, bytes, changed, leftOut } = await backup(folder, storage, key, {
      ...flags,
      ...(progress && { progress }),
      ...(!acceptOlderKeys && { seenEpoch: seenEpoch(key) }),
      onSkip: (path, reason) => say(`skipped: ${line({ path, reason })}`),
    });
    await compareWithSeen(storage, key, await snapshots(storage, key), acceptOlderKeys);
    report('left out', leftOut);
    say(`${counted(files)} (${size(bytes)}) in ${destination}; ${changed} new or changed`);
  });
}

type RestoreFlags = Omit<Parameters<typeof restore>[3] & object, 'progress'>;

function restoreTo(source: string, folder: string, key: BackupKey, flags: RestoreFlags): Promise<void> {
  return withStorage(source, async (storage) => {
    if (flags.at === undefined) await compareWithSeen(storage, key, await snapshots(storage, key));
    const only = flags.only?.map((path) => path.replace(/^(\.?\/)+|\/+$/g, ''));
    const progress = progressBar('restoring');
    const restored = await restore(storage, folder, key, {
      ...flags,
      ...(only && { only }),
      ...(progress && { progress }),
    });
    const { files, bytes, damaged, notes, leftOut } = restored;
    report('not restored', damaged);
    for (const note of notes) say(`note: ${line(note)}`);
    if (leftOut > 0) say(`note: when this backup was made, ${leftOut} files or folders were left out`);
    say(`${counted(files)} (${size(bytes)}) in ${folder}`);
  });
}

function list(source: string, key: BackupKey, origin: { host?: string; source?: string }): Promise<void> {
  return withStorage(source, async (storage) => {
    const found = await snapshots(storage, key);
    await compareWithSeen(storage, key, found);
    const { host, source } = origin;
    for (const snapshot of found.snapshots) {
      if (
        (host !== undefined && snapshot.host !== host) ||
        (source !== undefined && snapshot.source !== source)
      )
        continue;
      const from = [snapshot.host, snapshot.source].filter((part) => part !== undefined).join(':');
      const leftOut = snapshot.leftOut > 0 ? `, ${snapshot.leftOut} left out` : '';
      say(
        `${snapshot.name}  ${snapshot.created.toLocaleString()}  ${snapshot.files} files, ${size(snapshot.bytes)}${leftOut}${from && `  ${printable(from)}`}`,
      );
    }
    const lost = (reason: string) => (name: string) => ({
      path: '',
      reason: `snapshot ${name} is ${reason}`,
    });
    report('damaged', [
      ...found.damaged.map(lost('damaged, or of another key')),
      ...found.locked.map(lost('under a key that this one does not open')),
    ]);
    if (found.damaged.length > 0) process.exitCode = 1;
  });
}

function verify(source: string, key: BackupKey, repair: boolean): Promise<void> {
  return withStorage(source, async (storage) => {
    await compareWithSeen(storage, key, await snapshots(storage, key));
    const progress = progressBar('verifying');
    const verdict = await check(storage, key, { repair, ...(progress && { progress }) });
    const { parts, damaged, deleted, healed } = verdict;
    for (const problem of healed) say(`healed: ${line(problem)}`);
    report(
      'damaged',
      damaged.map(({ snapshot, path, reason }) => ({ path: path && `${snapshot}: ${path}`, reason })),
    );
    if (damaged.length > 0) process.exitCode = 1;
    if (deleted > 0)
      say(`${deleted} damaged parts and snapshots were deleted; bkv backup stores anew what it still finds`);
    say(
      `${verdict.snapshots} snapshots, ${parts} parts: ${damaged.length === 0 ? 'all is well' : `${damaged.length} files or lists are damaged`}`,
    );
  });
}

function reduce(source: string, key: BackupKey, keep: string, now: boolean): Promise<void> {
  if (!/^[1-9]\d{0,8}$/.test(keep)) throw new UsageError('--keep wants a number from 1 on');
  return withStorage(source, async (storage) => {
    const { snapshots, parts, marked, damaged } = await prune(
      storage,
      key,
      Number(keep),
      now ? 0 : undefined,
      seenEpoch(key),
    );
    report(
      'damaged',
      damaged.map((name) => ({ path: '', reason: `snapshot ${name} cannot be read, and stays` })),
    );
    say(`${snapshots} snapshots and ${parts} parts were deleted`);
    if (marked > 0) say(`${marked} more parts are not needed; a prune from tomorrow on deletes them`);
  });
}

function move(source: string, key: BackupKey): Promise<void> {
  return withStorage(source, async (storage) => {
    const moved = await migrate(storage, key);
    say(moved ? `${source} is of version 2 now` : `${source} is of version 2 already`);
  });
}

/** A name without what could steer the terminal. */
const printable = (name: string): string =>
  Buffer.from(name)
    .toString()
    .replace(/\p{Cc}/gu, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);

const line = ({ path, reason }: Problem): string => printable(path ? `${path} (${reason})` : reason);

/** Names what is not done; the rest is. */
function report(what: string, problems: readonly Problem[]): void {
  for (const problem of problems) say(`${what}: ${line(problem)}`);
  if (problems.length > 0) process.exitCode = INCOMPLETE;
}
