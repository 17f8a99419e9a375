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
import { printable } from '../process/index.js';
import { endAs } from './errors.js';
import type { OpenerFlags } from './flags.js';
import { readOpener } from './opener-input.js';
import { progressBar } from './progress.js';
import { counted, report } from './report.js';
import { say } from './say.js';
import { compareWithSeen, look, seenEpoch } from './seen.js';
import { withStorage } from './storages.js';

const size = (bytes: number): string =>
  bytes < 1e6
    ? `${Math.ceil(bytes / 1e3)} kB`
    : bytes < 1e9
      ? `${(bytes / 1e6).toFixed(1)} MB`
      : `${(bytes / 1e9).toFixed(2)} GB`;

/** What opens the backup, and the remaining flags. */
async function opened<T extends OpenerFlags>(flags: T): Promise<[BackupKey, Omit<T, keyof OpenerFlags>]> {
  const { keyFile: _, pieceFile: __, pieces: ___, ...rest } = flags;
  return [await readOpener(flags), rest];
}

type BackupFlags = Pick<
  Parameters<typeof backup>[3] & object,
  'exclude' | 'withCaches' | 'force' | 'allowEmpty' | 'host'
> & { acceptOlderKeys?: boolean; json?: boolean };

export async function run(
  folder: string,
  destination: string,
  given: OpenerFlags & BackupFlags,
): Promise<void> {
  const [key, { acceptOlderKeys = false, json = false, ...flags }] = await opened(given);
  return withStorage(destination, async (storage) => {
    const progress = progressBar('encrypting');
    const skipped: Problem[] = [];
    const done = await backup(folder, storage, key, {
      ...flags,
      ...(progress && { progress }),
      ...(!acceptOlderKeys && { seenEpoch: seenEpoch(key) }),
      onSkip: (path, reason) => {
        skipped.push({ path, reason });
        if (!json) say(printable(`skipped: ${line({ path, reason })}`));
      },
    });
    const { files, bytes, changed, leftOut } = done;
    await compareWithSeen(storage, key, { ...done, newest: done.snapshot }, acceptOlderKeys);
    endUnlessAll(leftOut);
    report(json, { files, bytes, changed, skipped, leftOut }, () => [
      ...listed('left out', leftOut),
      `${counted(files, 'file')} (${size(bytes)}) in ${destination}; ${changed} new or changed`,
    ]);
  });
}

type RestoreFlags = Omit<Parameters<typeof restore>[3] & object, 'progress'> & { json?: boolean };

export async function restoreTo(
  source: string,
  folder: string,
  given: OpenerFlags & RestoreFlags,
): Promise<void> {
  const [key, { json, ...flags }] = await opened(given);
  return withStorage(source, async (storage) => {
    if (flags.at === undefined) await look(storage, key);
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
      ...(leftOut > 0
        ? [`note: files or folders that were left out when this backup was made: ${leftOut}`]
        : []),
      `${counted(files, 'file')} (${size(bytes)}) in ${folder}`,
    ]);
  });
}

type ListFlags = Origin & { json?: boolean };

export async function list(source: string, given: OpenerFlags & ListFlags): Promise<void> {
  const [key, { json, ...origin }] = await opened(given);
  return withStorage(source, async (storage) => {
    const found = await snapshots(storage, key);
    const newest = found.snapshots.at(-1)?.name;
    await compareWithSeen(storage, key, { ...found, ...(newest !== undefined && { newest }) });
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
  return `${name}  ${created.toLocaleString()}  ${counted(files, 'file')}, ${size(bytes)}${left}${from && `  ${from}`}`;
}

interface VerifyFlags extends OpenerFlags {
  readonly repair?: boolean;
  readonly json?: boolean;
}

export async function verify(source: string, { repair = false, json, ...flags }: VerifyFlags): Promise<void> {
  const key = await readOpener(flags);
  return withStorage(source, async (storage) => {
    await look(storage, key);
    const progress = progressBar('verifying');
    const verdict = await check(storage, key, { repair, ...(progress && { progress }) });
    const { parts, damaged, deleted, healed } = verdict;
    const isEmpty = verdict.snapshots === 0;
    const found = isEmpty ? 'no finished backup, so nothing can be restored' : 'all is well';
    if (damaged.length > 0 || isEmpty) endAs('failed');
    report(json, { snapshots: verdict.snapshots, parts, damaged, deleted, healed }, () => [
      ...listed('healed', healed),
      ...listed(
        'damaged',
        damaged.map(({ snapshot, path, reason }) => ({ path: path && `${snapshot}: ${path}`, reason })),
      ),
      ...(deleted > 0
        ? [`${deleted} damaged parts and snapshots were deleted; bkv backup stores again what it still finds`]
        : []),
      `${counted(verdict.snapshots, 'snapshot')}, ${counted(parts, 'part')}: ${damaged.length === 0 ? found : `damaged files and lists: ${damaged.length}`}`,
    ]);
  });
}

interface PruneFlags extends OpenerFlags {
  readonly keep: number;
  readonly now?: boolean;
  readonly json?: boolean;
}

export async function reduce(source: string, { keep, now, json, ...flags }: PruneFlags): Promise<void> {
  const key = await readOpener(flags);
  return withStorage(source, async (storage) => {
    await look(storage, key);
    const done = await prune(storage, key, keep, now ? 0 : undefined, seenEpoch(key));
    const { parts, marked, damaged } = done;
    const stay = damaged.map((name) => ({ path: '', reason: `snapshot ${name} cannot be read, and stays` }));
    endUnlessAll(stay);
    report(json, { snapshots: done.snapshots, parts, marked, damaged }, () => [
      ...listed('damaged', stay),
      `deleted: ${counted(done.snapshots, 'snapshot')}, ${counted(parts, 'part')}`,
      ...(marked > 0
        ? [`not needed any more: ${counted(marked, 'part')}. A prune from tomorrow on deletes them`]
        : []),
    ]);
  });
}

export async function move(
  source: string,
  { json, ...flags }: OpenerFlags & { json?: boolean },
): Promise<void> {
  const key = await readOpener(flags);
  return withStorage(source, async (storage) => {
    const moved = await migrate(storage, key);
    report(json, { version: 2, moved }, () => [`${source} is of version 2 ${moved ? 'now' : 'already'}`]);
  });
}

const line = ({ path, reason }: Problem): string => (path ? `${path} (${reason})` : reason);

const listed = (what: string, problems: readonly Problem[]): string[] =>
  problems.map((problem) => `${what}: ${line(problem)}`);

/** Ends with exit code 5 if there are problems; the rest is done. */
function endUnlessAll(problems: readonly Problem[]): void {
  if (problems.length > 0) endAs('incomplete');
}
