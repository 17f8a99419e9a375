import type SQLite from 'better-sqlite3';
import { Kysely, PostgresDialect, type SqliteDatabase, SqliteDialect } from 'kysely';
import type pg from 'pg';
import { DatabaseError } from './errors.js';
import type { ServerClient } from './servers.js';
import { keepPrivate, openSqlite, type Sqlite } from './sqlite.js';

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

/** The client of PostgreSQL, which a keeper on SQLite does not load. */
export const loadPostgres = () => import('./servers.js');

export const isPostgres = (where: string): boolean => /^postgres(ql)?:/.test(where);

export async function open(where: string): Promise<Kysely<Database>> {
  return isPostgres(where) ? openPostgres(where) : ofSqlite(where);
}

function ofSqlite(path: string): Kysely<Database> {
  const database = openFile(path);
  const statements = new Map<string, SQLite.Statement>();
  const prepare = (sql: string): SQLite.Statement => {
    if (!database.inPlace())
      throw new DatabaseError(
        `${path} was replaced or deleted while this daemon had it open, and what is written now would be lost. Stop all daemons, put the right file there, and start them`,
      );
    const statement = statements.get(sql) ?? database.prepare(sql);
    statements.set(sql, statement);
    return statement;
  };
  return new Kysely({
    dialect: new SqliteDialect({ database: { prepare, close: () => database.close() } as SqliteDatabase }),
  });
}

function openFile(path: string): Sqlite {
  try {
    const database = openSqlite(path);
    keepPrivate(path);
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
    return database;
  } catch (error) {
    throw new DatabaseError(`the database ${path} cannot be opened: ${(error as Error).message}`);
  }
}

async function openPostgres(url: string): Promise<Kysely<Database>> {
  const { isReadOnly, Pool, Servers } = await loadPostgres();
  const servers = new Servers(url);
  const pool = new Pool({
    Client: servers.Client,
    max: 16,
    verify: (client, done) => {
      isReadOnly(client).then((readOnly) => {
        if (readOnly) servers.turnFrom((client as unknown as ServerClient).server);
        done(readOnly ? new DatabaseError('this database server accepts no writes') : undefined);
      }, done);
    },
  });
  // A connection that ends is replaced at the next query; queries under way on it reject.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  await findServer(pool, servers.count);
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

/** Turns to a server that accepts writes. @throws DatabaseError when none does */
async function findServer(pool: pg.Pool, count: number): Promise<void> {
  for (let tried = 1; ; tried++) {
    try {
      return (await pool.connect()).release();
    } catch (error) {
      if (tried < count) continue;
      throw new DatabaseError(`the database does not answer: ${(error as Error).message}`);
    }
  }
}
