import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** A temporary name for each process, because two may write the same file. */
const besideOf = (path: string): string => `${path}.${process.pid}.tmp`;

/** Writes a file that only its owner can read, completely or not at all, and durably. */
export async function writeFileAtomic(path: string, text: string): Promise<void> {
  const beside = besideOf(path);
  try {
    const file = await open(beside, 'w', 0o600);
    try {
      await file.writeFile(text);
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true });
    throw error;
  }
  const folder = await open(dirname(path));
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** The same, synchronously. */
export function writeFileAtomicSync(path: string, content: string | Uint8Array): void {
  const beside = besideOf(path);
  try {
    const file = openSync(beside, 'w', 0o600);
    try {
      writeFileSync(file, content);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(beside, path);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
}
