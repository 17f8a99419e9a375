import { type Command, Option } from 'commander';
import {
  type BackupKey,
  migrate,
  type Origin,
  type Problem,
  prune,
  type Snapshot,
  snapshots,
} from '../backup/index.js';
import { backup, check, restore } from '../files/index.js';
import { endAs, UsageError } from './errors.js';
import { type OpenerFlags, readOpener, withOpener } from './opener-input.js';
import { progressBar } from './progress.js';
import { report, withJson } from './report.js';
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
  if (/^[./]*$/.test(value)) throw new UsageError(`--exclude "${value}" matches nothing in the folder`);
  return several(value, before);
}

const withOrigin = (command: Command): Command =>
  command
    .option('--host <name>', 'only snapshots of this device')
    .option('--source <folder>', 'only snapshots of this folder');

export function backupCommands(program: Command): void {
  withJson(
    withOpener(
      program
        .command('backup <folder> <backup>')
        .description('encrypt a folder into a backup; only what changed since the last time is stored')
        .option(
          '--exclude <pattern>',
          'leave this out: *.tmp, node_modules, /cache (again for more)',
          patterns,
        )
        .option('--with-caches', 'include folders that are marked as caches (CACHEDIR.TAG)')
        .option('--force', 'read every file, also when its size and times are as they were')
        .option('--allow-empty', 'the folder holds no file, and that is right')
        .option('--host <name>', "this device's name in the snapshot; without it the system's")
        .option('--accept-older-keys', 'write even if this device has seen newer keys of this backup'),
    ),
  ).action(async (folder: string, destination: string, flags) =>
    run(folder, destination, ...(await opened(flags))),
  );

  withJson(
    withOrigin(
      withOpener(
        program
          .command('restore <backup> <folder>')
          .description('decrypt a backup into a new folder')
          .option(
            '--at <snapshot>',
            'which snapshot: a name from bkv snapshots, or a time; without it the newest',
          )
          .option('--only <path>', 'only this file or folder of the backup (again for more)', several)
          .option('--resume', 'go on with a restore into this folder that was cut off')
          .addOption(
            new Option('--overwrite <which>', 'restore among other files, replacing these').choices([
              'never',
              'older',
              'always',
            ]),
          )
          .option('--owners', 'restore owners too, and the bits setuid and setgid; needs root'),
      ),
    ),
  ).action(async (source: string, folder: string, flags) =>
    restoreTo(source, folder, ...(await opened(flags))),
  );

  withJson(
    withOrigin(
      withOpener(program.command('snapshots <backup>').description('list what was backed up, and when')),
    ),
  ).action(async (source: string, flags) => list(source, ...(await opened(flags))));

  withJson(
    withOpener(
      program
        .command('verify <backup>')
        .description('read a backup through and name every file that could not be restored')
        .option('--repair', 'delete what is damaged, so that the next backup stores it anew'),
    ),
  ).action(async (source: string, { repair, json, ...flags }) =>
    verify(source, await readOpener(flags), repair === true, json),
  );

  withJson(
    withOpener(
      program
        .command('prune <backup>')
        .description('delete old snapshots, and what only they need')
        .requiredOption('--keep <n>', 'how many of the newest snapshots of each device and folder stay')
        .option(
          '--now',
          'delete what nobody needs at once, not a day later; backups that other devices are making may have to start again',
        ),
    ),
  ).action(async (source: string, { keep, now, json, ...flags }) =>
    reduce(source, await readOpener(flags), keep, now === true, json),
  );

  withJson(
    withOpener(
      program
        .command('migrate <backup>')
        .description('move a backup of version 1 to version 2; nothing is uploaded again'),
    ),
  ).action(async (source: string, { json, ...flags }) => move(source, await readOpener(flags), json));
}

/** What opens the backup, and the flags that are not about that. */
async function opened<T extends OpenerFlags>(flags: T): Promise<[BackupKey, Omit<T, keyof OpenerFlags>]> {
  const { keyFile: _, pieceFile: __, pieces: ___, ...rest } = flags;
  return [await readOpener(flags), rest];
}

type BackupFlags = Pick<
  Parameters<typeof backup>[3] & object,
  'exclude' | 'withCaches' | 'force' | 'allowEmpty' | 'host'
> & { acceptOlderKeys?: boolean; json?: boolean };

function run(
  folder: string,
  destination: string,
  key: BackupKey,
  { acceptOlderKeys = false, json = false, ...flags }: BackupFlags,
): Promise<void> {
  return withStorage(destination, async (storage) => {
    const progress = progressBar('encrypting');
    const skipped: Problem[] = [];
    const done = await backup(folder, storage, key, {
      ...flags,
      ...(progress && { progress }),
      ...(!acceptOlderKeys && { seenEpoch: seenEpoch(key) }),
      onSkip: (path, reason) => {
        skipped.push({ path, reason });
        if (!json) say(`skipped: ${line({ path, reason })}`);
      },
    });
    const { files, bytes, changed, leftOut } = done;
    const newest = [{ name: done.snapshot }];
    await compareWithSeen(storage, key, { ...done, snapshots: newest }, acceptOlderKeys);
    endUnlessAll(leftOut);
    report(json, { files, bytes, changed, skipped, leftOut }, () => [
      ...listed('left out', leftOut),
      `${counted(files)} (${size(bytes)}) in ${destination}; ${changed} new or changed`,
    ]);
  });
}

type RestoreFlags = Omit<Parameters<typeof restore>[3] & object, 'progress'> & { json?: boolean };

function restoreTo(
  source: string,
  folder: string,
  key: BackupKey,
  { json, ...flags }: RestoreFlags,
): Promise<void> {
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
    endUnlessAll(damaged);
    report(json, { files, bytes, damaged, notes, leftOut }, () => [
      ...listed('not restored', damaged),
      ...listed('note', notes),
      ...(leftOut > 0 ? [`note: when this backup was made, ${leftOut} files or folders were left out`] : []),
      `${counted(files)} (${size(bytes)}) in ${folder}`,
    ]);
  });
}

type ListFlags = Origin & { json?: boolean };

function list(source: string, key: BackupKey, { json, ...origin }: ListFlags): Promise<void> {
  return withStorage(source, async (storage) => {
    const found = await snapshots(storage, key);
    await compareWithSeen(storage, key, found);
    const wanted = found.snapshots.filter(
      ({ host, source }) =>
        [host, undefined].includes(origin.host) && [source, undefined].includes(origin.source),
    );
    const lost = [
      ...found.damaged.map((name) => lostSnapshot(name, 'damaged, or of another key')),
      ...found.locked.map((name) => lostSnapshot(name, 'under a key that this one does not open')),
    ];
    endUnlessAll(lost);
    if (found.damaged.length > 0) endAs('failed');
    const told = wanted.map(({ list: _, ...snapshot }) => snapshot);
    const { damaged, locked } = found;
    report(json, { snapshots: told, damaged, locked }, () => [
      ...told.map(lineOf),
      ...listed('damaged', lost),
    ]);
  });
}

const lostSnapshot = (name: string, reason: string): Problem => ({
  path: '',
  reason: `snapshot ${name} is ${reason}`,
});

function lineOf({ name, created, files, bytes, leftOut, host, source }: Omit<Snapshot, 'list'>): string {
  const from = [host, source].filter((part) => part !== undefined).join(':');
  const left = leftOut > 0 ? `, ${leftOut} left out` : '';
  return `${name}  ${created.toLocaleString()}  ${files} files, ${size(bytes)}${left}${from && `  ${printable(from)}`}`;
}

function verify(source: string, key: BackupKey, repair: boolean, json?: boolean): Promise<void> {
  return withStorage(source, async (storage) => {
    await compareWithSeen(storage, key, await snapshots(storage, key));
    const progress = progressBar('verifying');
    const verdict = await check(storage, key, { repair, ...(progress && { progress }) });
    const { parts, damaged, deleted, healed } = verdict;
    if (damaged.length > 0) endAs('failed');
    report(json, { snapshots: verdict.snapshots, parts, damaged, deleted, healed }, () => [
      ...listed('healed', healed),
      ...listed(
        'damaged',
        damaged.map(({ snapshot, path, reason }) => ({ path: path && `${snapshot}: ${path}`, reason })),
      ),
      ...(deleted > 0
        ? [`${deleted} damaged parts and snapshots were deleted; bkv backup stores anew what it still finds`]
        : []),
      `${verdict.snapshots} snapshots, ${parts} parts: ${damaged.length === 0 ? 'all is well' : `${damaged.length} files or lists are damaged`}`,
    ]);
  });
}

function reduce(source: string, key: BackupKey, keep: string, now: boolean, json?: boolean): Promise<void> {
  if (!/^[1-9]\d{0,8}$/.test(keep)) throw new UsageError('--keep needs a number, 1 or more');
  return withStorage(source, async (storage) => {
    await compareWithSeen(storage, key, await snapshots(storage, key));
    const done = await prune(storage, key, Number(keep), now ? 0 : undefined, seenEpoch(key));
    const { parts, marked, damaged } = done;
    const stay = damaged.map((name) => ({ path: '', reason: `snapshot ${name} cannot be read, and stays` }));
    endUnlessAll(stay);
    report(json, { snapshots: done.snapshots, parts, marked, damaged }, () => [
      ...listed('damaged', stay),
      `${done.snapshots} snapshots and ${parts} parts were deleted`,
      ...(marked > 0 ? [`${marked} more parts are not needed; a prune from tomorrow on deletes them`] : []),
    ]);
  });
}

function move(source: string, key: BackupKey, json?: boolean): Promise<void> {
  return withStorage(source, async (storage) => {
    const moved = await migrate(storage, key);
    report(json, { version: 2, moved }, () => [`${source} is of version 2 ${moved ? 'now' : 'already'}`]);
  });
}

/** A name without what could steer the terminal. */
const printable = (name: string): string =>
  Buffer.from(name)
    .toString()
    .replace(/\p{Cc}/gu, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);

const line = ({ path, reason }: Problem): string => printable(path ? `${path} (${reason})` : reason);

const listed = (what: string, problems: readonly Problem[]): string[] =>
  problems.map((problem) => `${what}: ${line(problem)}`);

/** The rest is done. */
function endUnlessAll(problems: readonly Problem[]): void {
  if (problems.length > 0) endAs('incomplete');
}
