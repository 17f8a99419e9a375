import {
  chmodSync,
  closeSync,
  fchmodSync,
  futimesSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import {
  BackupError,
  type BackupSummary,
  backupEntries,
  type Destination,
  type DirectoryEntry,
  type OpenFile,
  type Progress,
  type RestoreOptions,
  type RestoreSummary,
  restoreEntries,
  type SourceEntry,
} from '../backup/index.js';
import type { Storage } from '../storage/index.js';
import { withThreads } from './threads.js';

// Files are touched by the program's own thread: of thousands of small ones a trip to another thread costs more than the
// work there, and the other threads are busy with encryption.

/** Entries below a folder, sorted, folders before what they hold. */
function* walk(root: string, below = ''): Generator<SourceEntry> {
  const names = readdirSync(join(root, below)).sort();
  for (const name of names) {
    const path = below ? `${below}/${name}` : name;
    const full = join(root, path);
    const info = lstatSync(full);
    const { mode, mtimeMs, size } = info;
    const common = { path, mode: mode & 0o777, mtime: Math.round(mtimeMs) };
    if (info.isDirectory()) {
      yield { ...common, type: 'directory' };
      yield* walk(root, path);
    } else if (info.isSymbolicLink()) yield { path, type: 'symlink', target: readlinkSync(full) };
    else if (info.isFile()) yield { ...common, type: 'file', size, open: async () => openFile(full) };
  }
}

function openFile(path: string): OpenFile {
  const file = openSync(path, 'r');
  return {
    read: async (into) => readSync(file, into),
    close: async () => closeSync(file),
  };
}

/**
 * Encrypts a folder into a backup: see {@link backupEntries}.
 * @param backupKey 32 bytes
 * @throws BackupError, StorageError
 */
export async function backup(
  source: string,
  storage: Storage,
  backupKey: Uint8Array,
  progress?: Progress,
): Promise<BackupSummary> {
  if (!lstatSync(source, { throwIfNoEntry: false })?.isDirectory())
    throw new BackupError(`${source} is not a folder`);
  let total = 0;
  for (const entry of walk(source)) if (entry.type === 'file') total += entry.size;
  return withThreads((formatOf) =>
    backupEntries(walk(source), total, storage, backupKey, { formatOf, ...(progress && { progress }) }),
  );
}

/**
 * Restores a snapshot into a new or empty folder: see {@link restoreEntries}.
 * @param backupKey 32 bytes
 * @throws BackupError also when the folder is not empty; StorageError
 */
export async function restore(
  storage: Storage,
  destination: string,
  backupKey: Uint8Array,
  options: RestoreOptions = {},
): Promise<RestoreSummary> {
  const directories: DirectoryEntry[] = [];
  const made = new Set<string>();
  const begin = () => {
    const present = lstatSync(destination, { throwIfNoEntry: false }) ? readdirSync(destination) : [];
    if (present.length > 0)
      throw new BackupError(`${destination} is not empty; name an empty or a new folder`);
    mkdirSync(destination, { recursive: true });
    made.add(destination);
  };
  const pathOf = (path: string): string => {
    if (made.size === 0) begin();
    const full = join(destination, path);
    const folder = dirname(full);
    if (!made.has(folder)) mkdirSync(folder, { recursive: true });
    made.add(folder);
    return full;
  };
  const folder: Destination = {
    make: async (entry) => {
      const path = pathOf(entry.path);
      if (entry.type === 'symlink') return symlinkSync(entry.target, path);
      mkdirSync(path, { recursive: true });
      directories.push(entry);
    },
    begin: async ({ path: name, mode, mtime }) => {
      const path = pathOf(name);
      const file = openSync(path, 'wx', 0o600);
      return {
        write: async (piece) => {
          for (let at = 0; at < piece.length; ) at += writeSync(file, piece, at);
        },
        end: async () => {
          fchmodSync(file, mode);
          futimesSync(file, mtime / 1000, mtime / 1000);
          closeSync(file);
        },
        discard: async () => {
          closeSync(file);
          rmSync(path);
        },
      };
    },
  };
  const summary = await withThreads((formatOf) =>
    restoreEntries(storage, folder, backupKey, { ...options, formatOf }),
  );
  if (made.size === 0) begin();
  // Last and from the inside out: writing into a folder changes its time, and its mode may forbid it.
  for (const { path, mode, mtime } of directories.reverse()) {
    chmodSync(join(destination, path), mode);
    utimesSync(join(destination, path), mtime / 1000, mtime / 1000);
  }
  return summary;
}
