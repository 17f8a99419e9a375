import { chmodSync, existsSync } from 'node:fs';
import SQLite from 'better-sqlite3';
import { Kysely, PostgresDialect, type SqliteDatabase, SqliteDialect } from 'kysely';
import type pg from 'pg';
import { CodedError } from '../../protocol/index.js';

export interface Database {
  records: {
    account: string;
    cell: number;
    generation: number;
    sealed: Buffer;
  };
  /** one row: which vault this database belongs to */
  vault: {
    id: number;
    server_public_key: Buffer;
    mark: Buffer;
  };
}

/** The database cannot be reached, or would lose what it acknowledged. */
export class DatabaseError extends CodedError {
  constructor(message: string) {
    super('database-failed', message);
  }
}

const INT8 = 20;

/** The client of PostgreSQL, which a keeper on SQLite does not load. */
export async function loadPostgres(): Promise<typeof pg> {
  const { default: client } = await import('pg');
  client.types.setTypeParser(INT8, Number);
  return client;
}

export const isPostgres = (where: string): boolean => /^postgres(ql)?:/.test(where);

/** How to reach a PostgreSQL server. @throws DatabaseError when the URL holds a password */
export function connection(url: string): pg.ClientConfig {
  if (new URL(url).password)
    throw new DatabaseError(
      'the URL of the database holds a password, which logs and process lists would show; put it into the file that PGPASSFILE names',
    );
  return {
    connectionString: url,
    application_name: 'bkv',
    connectionTimeoutMillis: 5000,
    keepAlive: true,
    query_timeout: 10_000,
  };
}

export async function open(where: string): Promise<Kysely<Database>> {
  return isPostgres(where) ? openPostgres(where) : openSqlite(where);
}

function openSqlite(path: string): Kysely<Database> {
  const database = openFile(path);
  const statements = new Map<string, SQLite.Statement>();
  const prepare = (sql: string): SQLite.Statement => {
    const statement = statements.get(sql) ?? database.prepare(sql);
    statements.set(sql, statement);
    return statement;
  };
  return new Kysely({
    dialect: new SqliteDialect({ database: { prepare, close: () => database.close() } as SqliteDatabase }),
  });
}

/** Closes a database of SQLite to all but its owner. What SQLite makes beside it is as it is. */
export function keepPrivate(path: string): void {
  for (const file of ['', '-wal', '-shm', '-journal'].map((end) => path + end))
    if (existsSync(file)) chmodSync(file, 0o600);
}

function openFile(path: string): SQLite.Database {
  try {
    const database = new SQLite(path);
    keepPrivate(path);
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = FULL');
    return database;
  } catch (error) {
    throw new DatabaseError(`the database ${path} cannot be opened: ${(error as Error).message}`);
  }
}

async function openPostgres(url: string): Promise<Kysely<Database>> {
  const { Pool } = await loadPostgres();
  const pool = new Pool({ ...connection(url), max: 16 });
  // A connection that ends is replaced at the next query; what was under way on it rejects.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  for (const setting of ['fsync', 'synchronous_commit', 'full_page_writes']) {
    const { rows } = await pool
      .query(`SELECT current_setting('${setting}') AS value`)
      .catch((error: Error) => {
        throw new DatabaseError(`the database does not answer: ${error.message}`);
      });
    if (rows[0].value === 'off')
      throw new DatabaseError(`the database has ${setting} = off: it could lose a registration; turn it on`);
  }
  return new Kysely({ dialect: new PostgresDialect({ pool }) });
}
