import { chmod, mkdir, open, readdir, rm, symlink, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Progress } from './backup.js';
import { BackupFolder } from './folder.js';
import { BackupError, type Entry } from './format.js';
import { readManifest } from './manifest.js';
import { chooseSnapshot } from './snapshots.js';

/** A file that could not be restored, or whose parts do not verify. */
export interface Damage {
  /** empty when a part of the list of files itself is damaged, and it is unknown which files it named */
  readonly path: string;
  readonly reason: string;
}

export interface RestoreSummary {
  readonly snapshot: string;
  /** restored whole */
  readonly files: number;
  readonly bytes: number;
  readonly damaged: readonly Damage[];
}

/**
 * Restores a snapshot into a new or empty folder, in constant memory. Files that are damaged are left out and named; the
 * rest is restored.
 * @param backupKey 32 bytes
 * @param at a snapshot's name or the beginning of it, or a time; without it the newest
 * @throws BackupError when there is no such snapshot, or the key is another's
 */
export async function restore(
  source: string,
  destination: string,
  backupKey: Uint8Array,
  { at, progress = () => undefined }: { at?: string; progress?: Progress } = {},
): Promise<RestoreSummary> {
  const folder = await BackupFolder.open(source, backupKey);
  const name = await chooseSnapshot(folder, at);
  const snapshot = await folder.snapshot(name);
  const present = await readdir(destination).catch(() => []);
  if (present.length > 0) throw new BackupError(`${destination} is not empty; name an empty or a new folder`);
  await mkdir(destination, { recursive: true });

  const damaged: Damage[] = [];
  const listDamage = (error: BackupError) => damaged.push({ path: '', reason: error.message });
  let [files, bytes] = [0, 0];
  let cached: { name: string; plaintext: Buffer } | undefined;
  const directories: Extract<Entry, { type: 'directory' }>[] = [];
  for await (const entry of readManifest(folder, snapshot.manifest, listDamage)) {
    const path = safePath(destination, entry.path);
    if (entry.type === 'directory') {
      await mkdir(path, { recursive: true });
      directories.push(entry);
      continue;
    }
    await mkdir(dirname(path), { recursive: true });
    if (entry.type === 'symlink') {
      await symlink(entry.target, path);
      continue;
    }
    const file = await open(path, 'wx', 0o600);
    try {
      for (const [part, offset, length] of entry.content) {
        if (cached?.name !== part) cached = { name: part, plaintext: await folder.getPart(part) };
        const piece = cached.plaintext.subarray(offset, offset + length);
        if (piece.length !== length)
          throw new BackupError(`part ${part} is shorter than the list of files says`);
        await file.write(piece);
        bytes += length;
        progress(bytes, snapshot.bytes);
      }
      files++;
    } catch (error) {
      if (!(error instanceof BackupError)) throw error;
      damaged.push({ path: entry.path, reason: error.message });
      await rm(path);
      continue;
    } finally {
      await file.close();
    }
    await chmod(path, entry.mode);
    await utimes(path, entry.mtime / 1000, entry.mtime / 1000);
  }
  // Last and from the inside out: writing into a folder changes its time, and its mode may forbid it.
  for (const { path, mode, mtime } of directories.reverse()) {
    await chmod(join(destination, path), mode);
    await utimes(join(destination, path), mtime / 1000, mtime / 1000);
  }
  return { snapshot: name, files, bytes, damaged };
}

function safePath(destination: string, path: string): string {
  if (
    path.split('/').some((segment) => segment === '' || segment === '.' || segment === '..') ||
    path.includes('\0')
  ) {
    throw new BackupError('the list of files names a path outside of the backup');
  }
  return join(destination, path);
}
