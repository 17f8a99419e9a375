import { setTimeout } from 'node:timers/promises';
import SQLite from 'better-sqlite3';
import { connection, isPostgres, keepPrivate, loadPostgres } from './database.js';

/** The right to be the only daemon on a database that answers. */
export interface Leadership {
  /** resolves when it was lost; what the token says of its writer is the fence, this is the courtesy */
  readonly lost: Promise<void>;
  /** whether the database still says so */
  held(): Promise<boolean>;
  release(): Promise<void>;
}

/** Any number that other programs on the same database do not lock. */
const LOCK = 0x62_6b_76; // "bkv"
const POLL_MS = 500;

/**
 * Waits until no other daemon leads on this database.
 * @param where as for `Records.open`
 * @param onWait is called when another one does
 * @throws the signal's reason when it is aborted
 */
export async function lead(where: string, signal: AbortSignal, onWait: () => void): Promise<Leadership> {
  for (;;) {
    const leadership = isPostgres(where) ? await tryPostgres(where) : trySqlite(`${where}.leader`);
    if (leadership) {
      if (!signal.aborted) return leadership;
      await leadership.release();
    }
    signal.throwIfAborted();
    onWait();
    await setTimeout(POLL_MS);
  }
}

/** A lock on a file of its own, which the system takes back when the process ends. */
function trySqlite(path: string): Leadership | undefined {
  const database = new SQLite(path, { timeout: 0 });
  keepPrivate(path);
  try {
    database.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if ((error as { code?: string }).code === 'SQLITE_BUSY') return undefined;
    throw error;
  }
  return {
    lost: new Promise(() => undefined),
    held: async () => true,
    release: async () => void database.close(),
  };
}

async function tryPostgres(url: string): Promise<Leadership | undefined> {
  const { Client } = await loadPostgres();
  const client = new Client(connection(url));
  const lost = new Promise<void>((resolve) => {
    client.on('error', () => resolve());
    client.on('end', () => resolve());
  });
  try {
    await client.connect();
    // The server lets go of a host that went silent within some ten seconds.
    await client.query(
      'SET tcp_keepalives_idle = 3; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3',
    );
    const { rows } = await client.query('SELECT pg_try_advisory_lock($1) AS locked', [LOCK]);
    if (rows[0].locked) {
      const held = async () =>
        client.query('SELECT 1').then(
          () => true,
          () => false,
        );
      return { lost, held, release: () => client.end() };
    }
  } catch {
    // A database that does not answer now is asked again.
  }
  await client.end().catch(() => undefined);
  return undefined;
}
