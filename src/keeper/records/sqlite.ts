import { chmodSync, statSync } from 'node:fs';
import SQLite from 'better-sqlite3';

/**
 * Keeps all databases and statements that the process has opened. Node.js 24 aborts when the garbage
 * collector frees one of better-sqlite3 12, and version 13 needs Node.js 22. So open only a few.
 */
const kept: object[] = [];

function keep<T extends object>(handle: T): T {
  kept.push(handle);
  return handle;
}

/** An SQLite database, without methods that make their own statements, such as `pragma`. */
export interface Sqlite extends Pick<SQLite.Database, 'close' | 'exec' | 'prepare'> {
  /** whether its path still leads to the file that was opened: it may have been deleted or replaced since */
  inPlace(): boolean;
}

/** Opens a database. Its handle stays in memory until the process ends, even after it is closed. */
export function openSqlite(path: string, options?: SQLite.Options): Sqlite {
  const database = keep(new SQLite(path, options));
  const prepare = database.prepare.bind(database);
  return Object.assign(database, { prepare: (sql: string) => keep(prepare(sql)), inPlace: watch(path) });
}

/** @returns whether a path still leads to the file that it leads to now */
export function watch(path: string): () => boolean {
  const file = fileAt(path);
  return () => fileAt(path) === file;
}

/** What distinguishes the file at a path from all others; `undefined` if none can be seen there. */
function fileAt(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return `${dev} ${ino}`;
  } catch {
    return undefined;
  }
}

/**
 * Makes an SQLite database accessible to its owner only. Files that SQLite makes beside it get the same
 * permissions.
 */
export function keepPrivate(path: string): void {
  for (const file of ['', '-wal', '-shm', '-journal'].map((end) => path + end))
    try {
      chmodSync(file, 0o600);
    } catch (error) {
      // Another daemon deletes its files when it ends.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
}
