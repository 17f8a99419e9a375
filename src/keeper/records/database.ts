import { existsSync, statSync } from 'node:fs';
import type SQLite from 'better-sqlite3';
import { Kysely, PostgresDialect, type SqliteDatabase, SqliteDialect } from 'kysely';
import type pg from 'pg';
import { DatabaseError } from './errors.js';
import type { ServerClient, Servers } from './servers.js';
import { keepPrivate, openSqlite, type Sqlite, watch } from './sqlite.js';

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
  const journalInPlace = watch(`${path}-wal`);
  const statements = new Map<string, SQLite.Statement>();
  const prepare = (sql: string): SQLite.Statement => {
    // What has begun must end: otherwise whatever is written later would be part of it, and never be committed.
    if (sql !== 'rollback' && !(database.inPlace() && journalInPlace()))
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
  let database: Sqlite | undefined;
  try {
    expectFile(path);
    database = openSqlite(path);
    keepPrivate(path);
    // Reading makes the file of the journal, which must stay in its place too.
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; SELECT 1 FROM sqlite_schema');
    return database;
  } catch (error) {
    database?.close();
    throw new DatabaseError(`the database ${path} cannot be opened: ${(error as Error).message}`);
  }
}

/** A device would be opened too, and its permissions changed. @throws Error */
function expectFile(path: string): void {
  if (existsSync(path) && !statSync(path).isFile()) throw new Error('it is not a file');
}

async function openPostgres(url: string): Promise<Kysely<Database>> {
  const { Pool, Servers } = await loadPostgres();
  const servers = new Servers(url);
  const pool = new Pool({
    Client: servers.Client,
    max: 16,
    verify: (client, done) => {
      check(client, servers).then(() => done(), done);
    },
  });
  // A connection that ends is replaced at the next query; queries under way on it reject.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  await findServer(pool, servers.count).catch(async (error) => {
    await pool.end();
    throw error;
  });
  return new Kysely({ dialect: new PostgresDialect({ pool }) });
}

/** Settings that a server must have on: else it could lose what it acknowledged. */
const DURABLE = ['fsync', 'synchronous_commit', 'full_page_writes'] as const;

/** Checks each new connection, because after a fail-over it may be to another server. @throws DatabaseError */
async function check(client: pg.PoolClient, servers: Servers): Promise<void> {
  if (await (await loadPostgres()).isReadOnly(client)) {
    servers.turnFrom((client as unknown as ServerClient).server);
    throw new DatabaseError('this database server accepts no writes');
  }
  const { rows } = await client.query(
    `SELECT ${DURABLE.map((setting) => `current_setting('${setting}') AS ${setting}`)}`,
  );
  const off = DURABLE.find((setting) => rows[0][setting] === 'off');
  if (off) throw new DatabaseError(`the database has ${off} = off: it could lose a registration; turn it on`);
}

/** Turns to a server that accepts writes. @throws DatabaseError when none does */
async function findServer(pool: pg.Pool, count: number): Promise<void> {
  for (let tried = 1; ; tried++) {
    try {
      return (await pool.connect()).release();
    } catch (error) {
      if (tried < count) continue;
      if (error instanceof DatabaseError) throw error;
      throw new DatabaseError(`the database does not answer: ${(error as Error).message}`);
    }
  }
}
