import { lstatSync, realpathSync, type Stats, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, resolve } from 'node:path';
import {
  BackupError,
  type BackupKey,
  type BackupOptions,
  type BackupSummary,
  backupEntries,
  type Problem,
  type RestoreOptions,
  type RestoreSummary,
  restoreEntries,
  type Verdict,
  type VerifyOptions,
  verify,
} from '../backup/index.js';
import type { Storage } from '../storage/index.js';
import { FolderDestination, type FolderOptions } from './destination.js';
import { excluder } from './exclude.js';
import { withoutPlace } from './folders.js';
import { withThreads } from './threads.js';
import { Walk } from './walk.js';
import { hasXattr } from './xattr.js';

export type { FolderOptions } from './destination.js';
export type { Overwrite } from './overwrite.js';

export interface SourceOptions extends Omit<BackupOptions, 'cipher'> {
  /** patterns of what is left out: `*.tmp`, `node_modules`, `/cache` */
  readonly exclude?: readonly string[];
  /** includes folders that are marked as caches (CACHEDIR.TAG) */
  readonly withCaches?: boolean;
  /** is told what is left out on purpose */
  readonly onSkip?: (path: string, reason: string) => void;
}

/**
 * Encrypts a folder into a backup: see {@link backupEntries}. What cannot be read is left out, and named.
 * @throws BackupError, StorageError
 */
export async function backup(
  source: string,
  storage: Storage,
  backupKey: BackupKey,
  { exclude = [], withCaches = false, onSkip = () => undefined, ...rest }: SourceOptions = {},
): Promise<BackupSummary> {
  const there = statSync(source, { throwIfNoEntry: false });
  if (!there?.isDirectory()) throw new BackupError(`${source} is not a folder`);
  const root = realpathSync(source);
  const except = () => folderOf(storage);
  const target = except();
  if (target?.dev === there.dev && target.ino === there.ino)
    throw new BackupError(`${source} would be backed up into itself; name another place`);
  if (!hasXattr()) onSkip('', 'extended attributes and ACLs, which cannot be read on this system');
  const walk = new Walk(root, { isExcluded: excluder(exclude), withCaches, except, onSkip });
  const again = new Walk(root, { ...walk.options, onSkip: () => undefined });
  let first = true;
  const next = () => {
    const entries = first ? walk : again;
    first = false;
    return entries;
  };
  const total = rest.progress ? walk.total() : 0;
  const origin = { host: hostname(), source: root };
  const summary = await withThreads((cipher) =>
    backupEntries(next, total, storage, backupKey, { ...origin, ...rest, cipher }),
  );
  return { ...summary, leftOut: summary.leftOut.map(plainly) };
}

const plainly = ({ path, reason }: Problem): Problem => ({ path, reason: withoutPlace(reason) });

/** The folder that a storage is in, if it is on this machine. */
function folderOf({ folder }: Storage): Stats | undefined {
  return folder === undefined ? undefined : statSync(folder, { throwIfNoEntry: false });
}

/** Whether a place, which need not exist yet, is this folder or lies in it. */
function isWithin(place: string, { dev, ino }: Stats): boolean {
  for (let at = resolve(place); ; at = dirname(at)) {
    const there = statSync(at, { throwIfNoEntry: false });
    if (there?.dev === dev && there.ino === ino) return true;
    if (there) at = realpathSync(at);
    if (dirname(at) === at) return false;
  }
}

export interface FolderSummary extends RestoreSummary {
  /** what the system refused, or was not asked to do, for files that were restored otherwise */
  readonly notes: readonly Problem[];
}

/**
 * Restores a snapshot into a folder: see {@link restoreEntries}. Without `overwrite` or `resume` the folder
 * must be new or empty.
 * @throws BackupError also when the folder is not empty; StorageError
 */
export async function restore(
  storage: Storage,
  destination: string,
  backupKey: BackupKey,
  { overwrite, resume, owners, ...options }: Omit<RestoreOptions, 'cipher'> & FolderOptions = {},
): Promise<FolderSummary> {
  if (lstatSync(destination, { throwIfNoEntry: false })?.isFile())
    throw new BackupError(`${destination} is a file, not a folder`);
  const taken = folderOf(storage);
  if (taken && isWithin(destination, taken))
    throw new BackupError(`${destination} lies in the backup itself; name another place`);
  const folder = new FolderDestination(destination, {
    ...(overwrite && { overwrite }),
    ...(resume && { resume }),
    ...(owners && { owners }),
  });
  const summary = await withThreads((cipher) =>
    restoreEntries(storage, folder, backupKey, { ...options, cipher }),
  );
  folder.finish();
  return { ...summary, damaged: summary.damaged.map(plainly), notes: folder.problems.map(plainly) };
}

/** Reads a backup through, with threads: see {@link verify}. */
export const check = (
  storage: Storage,
  backupKey: BackupKey,
  options: Omit<VerifyOptions, 'cipher'> = {},
): Promise<Verdict> => withThreads((cipher) => verify(storage, backupKey, { ...options, cipher }));
