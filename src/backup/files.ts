import { chmod, lstat, mkdir, open, readdir, readlink, rm, symlink, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Storage } from '../storage/index.js';
import { type BackupSummary, backupEntries, type Progress, type SourceEntry } from './backup.js';
import { BackupError, type DirectoryEntry } from './format.js';
import { type Destination, type RestoreSummary, restoreEntries } from './restore.js';

/** Entries below a folder, sorted, folders before what they hold. */
async function* walk(root: string, below = ''): AsyncGenerator<SourceEntry> {
  const names = (await readdir(join(root, below))).sort();
  for (const name of names) {
    const path = below ? `${below}/${name}` : name;
    const full = join(root, path);
    const info = await lstat(full);
    const { mode, mtimeMs, size } = info;
    const common = { path, mode: mode & 0o777, mtime: Math.round(mtimeMs) };
    if (info.isDirectory()) {
      yield { ...common, type: 'directory' };
      yield* walk(root, path);
    } else if (info.isSymbolicLink()) yield { path, type: 'symlink', target: await readlink(full) };
    else if (info.isFile()) yield { ...common, type: 'file', size, open: () => openFile(full) };
  }
}

async function openFile(path: string) {
  const file = await open(path);
  return {
    read: async (into: Uint8Array) => (await file.read(into)).bytesRead,
    close: () => file.close(),
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
  const root = await lstat(source).catch(() => undefined);
  if (!root?.isDirectory()) throw new BackupError(`${source} is not a folder`);
  let total = 0;
  for await (const entry of walk(source)) if (entry.type === 'file') total += entry.size;
  return backupEntries(walk(source), total, storage, backupKey, progress);
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
  options: { at?: string; progress?: Progress } = {},
): Promise<RestoreSummary> {
  const directories: DirectoryEntry[] = [];
  let begun: Promise<void> | undefined;
  const begin = async () => {
    const present = await readdir(destination).catch(() => []);
    if (present.length > 0)
      throw new BackupError(`${destination} is not empty; name an empty or a new folder`);
    await mkdir(destination, { recursive: true });
  };
  const pathOf = async (path: string): Promise<string> => {
    begun ??= begin();
    await begun;
    const full = join(destination, path);
    await mkdir(dirname(full), { recursive: true });
    return full;
  };
  const folder: Destination = {
    make: async (entry) => {
      const path = await pathOf(entry.path);
      if (entry.type === 'symlink') return symlink(entry.target, path);
      await mkdir(path, { recursive: true });
      directories.push(entry);
    },
    begin: async ({ path: name, mode, mtime }) => {
      const path = await pathOf(name);
      const file = await open(path, 'wx', 0o600);
      return {
        write: async (piece) => file.writeFile(piece),
        end: async () => {
          await file.chmod(mode);
          await file.utimes(mtime / 1000, mtime / 1000);
          await file.close();
        },
        discard: async () => {
          await file.close();
          await rm(path);
        },
      };
    },
  };
  const summary = await restoreEntries(storage, folder, backupKey, options);
  begun ??= begin();
  await begun;
  // Last and from the inside out: writing into a folder changes its time, and its mode may forbid it.
  for (const { path, mode, mtime } of directories.reverse()) {
    await chmod(join(destination, path), mode);
    await utimes(join(destination, path), mtime / 1000, mtime / 1000);
  }
  return summary;
}
