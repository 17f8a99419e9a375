import { closeSync, existsSync, fsyncSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { UsageError } from './errors.js';

const taken = (path: string): UsageError => new UsageError(`${path} already exists; name another file`);

/** Checks early, before anybody types a secret, that a file does not exist yet. @throws UsageError */
export function expectNew(path: string | undefined): void {
  if (path !== undefined && existsSync(path)) throw taken(path);
}

function sync(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Writes a new file that only the user can read. When this returns, the file and its name are on the disk.
 * @throws UsageError, and leaves no file
 */
export function writeNew(path: string, content: string | Uint8Array): void {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'wx', 0o600);
    writeFileSync(fd, content);
    fsyncSync(fd);
    sync(dirname(path));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') throw taken(path);
    if (fd !== undefined) rmSync(path, { force: true });
    throw new UsageError(`${path} cannot be written (${code})`);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
