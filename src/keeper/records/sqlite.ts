import { chmodSync, existsSync } from 'node:fs';
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
export type Sqlite = Pick<SQLite.Database, 'close' | 'exec' | 'prepare'>;

/** Opens a database. Its handle stays in memory until the process ends, even after it is closed. */
export function openSqlite(path: string, options?: SQLite.Options): Sqlite {
  const database = keep(new SQLite(path, options));
  const prepare = database.prepare.bind(database);
  return Object.assign(database, { prepare: (sql: string) => keep(prepare(sql)) });
}

/**
 * Makes an SQLite database accessible to its owner only. Files that SQLite makes beside it get the same
 * permissions.
 */
export function keepPrivate(path: string): void {
  for (const file of ['', '-wal', '-shm', '-journal'].map((end) => path + end))
    if (existsSync(file)) chmodSync(file, 0o600);
}
