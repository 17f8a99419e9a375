import type { Duplex } from 'node:stream';
import pg from 'pg';
import { DatabaseError } from './errors.js';
import { passwordOf } from './pgpass.js';

const INT8 = 20;
pg.types.setTypeParser(INT8, Number);
export const { Pool } = pg;

/** Milliseconds that a server may take to end a connection: one that hangs would never do so. */
const PATIENCE_MS = 1000;

const streamOf = (client: pg.Client): Duplex =>
  (client as unknown as { connection: { stream: Duplex } }).connection.stream;

/**
 * The PostgreSQL servers of a URL such as `postgres://bkv@a,b:5433/bkv`: the first that accepts writes is
 * used.
 */
export class Servers {
  readonly #all: readonly pg.ClientConfig[];
  #at = 0;

  /** @throws DatabaseError when the URL holds a password */
  constructor(url: string) {
    const [, scheme, user = '', hosts = '', rest] =
      /^(postgres(?:ql)?:\/\/)([^@/?]*@)?([^/?]*)(.*)$/.exec(url) ?? [];
    if (!scheme) throw new DatabaseError('the URL of the database is not a PostgreSQL URL');
    const parameters = new URLSearchParams(/\?(.*)/.exec(rest ?? '')?.[1]);
    if (user.includes(':') || parameters.has('password'))
      throw new DatabaseError(
        'the URL of the database holds a password, which logs and process lists would show; put it into the file that PGPASSFILE names',
      );
    this.#all = hosts.split(',').map((host) => ({
      connectionString: `${scheme}${user}${host}${rest}`,
      application_name: 'bkv',
      connectionTimeoutMillis: 5000,
      keepAlive: true,
      query_timeout: 10_000,
    }));
  }

  get count(): number {
    return this.#all.length;
  }

  /** The server that is used now. */
  get now(): pg.ClientConfig {
    return this.#all[this.#at] as pg.ClientConfig;
  }

  /** Uses the next server from now on, unless a server other than `server` is in use already. */
  turnFrom(server: pg.ClientConfig): void {
    if (this.now === server) this.#at = (this.#at + 1) % this.#all.length;
  }

  /** A client of the server that is in use when the client is made. */
  readonly Client: new () => ServerClient = ((servers: Servers) =>
    class extends pg.Client implements ServerClient {
      readonly server = servers.now;

      constructor() {
        super(servers.now);
        const known = this as unknown as { password?: unknown };
        known.password ??= passwordOf;
        const connect = super.connect.bind(this) as () => Promise<pg.Client>;
        const connectOrTurn = (callback?: (error?: Error) => void) => {
          const connected = connect().catch((error) => {
            servers.turnFrom(this.server);
            throw error;
          });
          return callback ? void connected.then(() => callback(), callback) : connected;
        };
        this.connect = connectOrTurn as pg.Client['connect'];
        const end = super.end.bind(this) as () => Promise<void>;
        const endSoon = (callback?: () => void) => {
          const late = setTimeout(() => streamOf(this).destroy(), PATIENCE_MS);
          const ended = end().finally(() => clearTimeout(late));
          return callback ? void ended.then(callback, callback) : ended;
        };
        this.end = endSoon as pg.Client['end'];
      }
    })(this);
}

export interface ServerClient extends pg.Client {
  readonly server: pg.ClientConfig;
}

/** Whether a server accepts no writes now, such as one that follows another. */
export async function isReadOnly(client: Pick<pg.ClientBase, 'query'>): Promise<boolean> {
  const { rows } = await client.query('SHOW transaction_read_only');
  return rows[0].transaction_read_only === 'on';
}
