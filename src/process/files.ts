import { randomUUID } from 'node:crypto';
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** A temporary name of its own for each writer, because two may write the same file at once. */
const besideOf = (path: string): string => `${path}.${randomUUID()}.tmp`;

/** Writes a file that only its owner can read, completely or not at all, and durably. */
export async function writeFileAtomic(path: string, text: string): Promise<void> {
  const beside = besideOf(path);
  try {
    await synced(beside, 'wx', (file) => file.writeFile(text));
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true });
    throw error;
  }
  await synced(dirname(path), 'r');
}

/** Opens a file or a folder, and syncs it to the disk after `work`. */
async function synced(
  path: string,
  flags: string,
  work: (file: FileHandle) => Promise<void> = async () => undefined,
): Promise<void> {
  const file = await open(path, flags, 0o600);
  try {
    await work(file);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The same, synchronously. */
export function writeFileAtomicSync(path: string, content: string | Uint8Array): void {
  const beside = besideOf(path);
  try {
    syncedSync(beside, 'wx', (file) => writeFileSync(file, content));
    renameSync(beside, path);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
  syncedSync(dirname(path), 'r');
}

function syncedSync(path: string, flags: string, work: (file: number) => void = () => undefined): void {
  const file = openSync(path, flags, 0o600);
  try {
    work(file);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
