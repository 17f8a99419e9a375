import {
  accessSync,
  closeSync,
  constants,
  fsyncSync,
  lstatSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { UsageError } from './errors.js';

const taken = (path: string): UsageError => new UsageError(`${path} already exists; name another file`);

const unwritable = (path: string, error: unknown): UsageError =>
  new UsageError(`${path} cannot be written (${(error as NodeJS.ErrnoException).code})`);

/** Most bytes of a file with a key, a piece, a password, JWTs or a fleet. */
const MOST = 1024 * 1024;

/** Such a file, or a pipe. @throws UsageError, also when it is longer, as /dev/zero is */
export function readText(path: string): string {
  const content = Buffer.alloc(MOST + 1);
  try {
    const length = readInto(content, path);
    if (length > MOST) throw new UsageError(`${path} has more than ${MOST} bytes; is it the right file?`);
    return content.toString('utf8', 0, length);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`${path}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
  } finally {
    content.fill(0);
  }
}

/** Reads a file until the buffer is full. @returns how many bytes it has */
function readInto(content: Buffer, path: string): number {
  const fd = openSync(path, 'r');
  try {
    let length = 0;
    for (let read = -1; read !== 0 && length < content.length; length += read)
      read = readSync(fd, content, length, content.length - length, null);
    return length;
  } finally {
    closeSync(fd);
  }
}

/**
 * Checks early, before anybody types a secret, that a file does not exist yet, and that its folder can be
 * written. @throws UsageError
 */
export function expectNew(path: string | undefined): void {
  if (path === undefined) return;
  try {
    if (lstatSync(path, { throwIfNoEntry: false })) throw taken(path);
    accessSync(dirname(path), constants.W_OK);
  } catch (error) {
    throw error instanceof UsageError ? error : unwritable(path, error);
  }
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
    throw unwritable(path, error);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
