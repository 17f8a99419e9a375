import { setTimeout } from 'node:timers/promises';
import { log } from '../log/index.js';
import { isPostgres, loadPostgres } from './database.js';
import { DatabaseError } from './errors.js';
import type { Servers } from './servers.js';
import { keepPrivate, openSqlite, type Sqlite } from './sqlite.js';

/** The right to be the only daemon on a database that answers. */
export interface DutyLock {
  /**
   * resolves when the lock was lost. This only saves time: the writer object in the token keeps two daemons
   * apart
   */
  readonly lost: Promise<void>;
  /** whether the database still says so */
  held(): Promise<boolean>;
  release(): Promise<void>;
}

/** Any number that no other program on the same database locks. */
const LOCK = 0x62_6b_76; // "bkv"
const POLL_MS = 500;

/**
 * Waits until no other daemon is on duty. Calls `onWait` when another daemon is.
 * @throws the signal's reason when it is aborted; DatabaseError
 */
export type TakeDutyLock = (signal: AbortSignal, onWait: () => void) => Promise<DutyLock>;

/** @param where as for `Records.open` */
export function dutyLock(where: string): TakeDutyLock {
  const tryLock = isPostgres(where) ? inPostgres(where) : inFile(`${where}.leader`);
  return async (signal, onWait) => {
    for (;;) {
      const lock = await tryLock();
      if (lock && !signal.aborted) return lock;
      await lock?.release();
      signal.throwIfAborted();
      onWait();
      await setTimeout(POLL_MS);
    }
  };
}

/** @returns the lock, or `undefined` while another daemon has it */
type TryLock = () => Promise<DutyLock | undefined>;

/**
 * A lock on a file of its own: the system takes it back when the process ends. Daemons find each other by the
 * file's path, so a file that was replaced or deleted is not waited for, and its lock is lost.
 */
function inFile(path: string): TryLock {
  let file: Sqlite | undefined;
  return async () => {
    try {
      if (!file?.inPlace()) {
        file?.close();
        file = openSqlite(path, { timeout: 0 });
        keepPrivate(path);
      }
      file.exec('BEGIN EXCLUSIVE');
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === 'SQLITE_BUSY') return undefined;
      throw new DatabaseError(
        `${path}, which keeps a second daemon off the database, cannot be locked: ${message}. It holds nothing: delete it while no daemon runs`,
      );
    }
    return lockOn(file);
  };
}

function lockOn(file: Sqlite): DutyLock {
  let watching: NodeJS.Timeout | undefined;
  const lost = new Promise<void>((resolve) => {
    watching = setInterval(() => {
      if (!file.inPlace()) resolve();
    }, POLL_MS);
  });
  return {
    lost,
    held: async () => file.inPlace(),
    release: async () => {
      clearInterval(watching);
      file.exec('ROLLBACK');
    },
  };
}

function inPostgres(where: string): TryLock {
  let servers: Servers | undefined;
  return async () => {
    servers ??= new (await loadPostgres()).Servers(where);
    let lock: DutyLock | undefined;
    for (let tried = 0; !lock && tried < servers.count; tried++) lock = await tryPostgres(servers);
    return lock;
  };
}

/**
 * A lock held by a transaction that stays open as long as this daemon is on duty. So the lock keeps its
 * backend even behind a pooler, such as PgBouncer, that gives a backend away between two transactions.
 */
async function tryPostgres(servers: Servers): Promise<DutyLock | undefined> {
  const client = new servers.Client();
  const lost = new Promise<void>((resolve) => {
    client.on('error', () => resolve());
    client.on('end', () => resolve());
  });
  try {
    await client.connect();
    await client.query('BEGIN');
    // The server drops a host that went silent within about ten seconds, and no other.
    await client.query(
      'SET LOCAL tcp_keepalives_idle = 3; SET LOCAL tcp_keepalives_interval = 2; SET LOCAL tcp_keepalives_count = 3; SET LOCAL idle_in_transaction_session_timeout = 0',
    );
    if (await (await loadPostgres()).isReadOnly(client)) servers.turnFrom(client.server);
    else {
      const { rows } = await client.query('SELECT pg_try_advisory_xact_lock($1) AS locked', [LOCK]);
      if (rows[0].locked) {
        const held = async () =>
          client.query('SELECT 1').then(
            () => true,
            () => false,
          );
        return { lost, held, release: () => client.end() };
      }
    }
  } catch (error) {
    const { message } = error as Error;
    // PgBouncer gives all its refusals one SQLSTATE (08P01), also those that pass. Its texts are not translated.
    if (/statement pooling/.test(message))
      throw new DatabaseError(
        'PgBouncer before the database is in statement mode, which takes no transactions: set pool_mode to session or transaction',
      );
    // If the database does not answer now, it is asked again.
    log.warn('the database does not say who is on duty', { reason: message });
  }
  await client.end().catch(() => undefined);
  return undefined;
}
