import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

const ROOT = '/usr/lib/postgresql';

/** A PostgreSQL server of its own, in a temporary folder, on a Unix socket. */
export class Postgres {
  private constructor(
    readonly folder: string,
    readonly url: string,
    /** on the loopback address */
    readonly port: number,
    private child: ChildProcess,
  ) {}

  /** PostgreSQL refuses to run as root, so root runs it as the system's user for it. */
  static #run(name: string, args: readonly string[]): [string, string[]] {
    const version = readdirSync(ROOT).sort((a, b) => Number(b) - Number(a))[0] as string;
    const program = join(ROOT, version, 'bin', name);
    return process.getuid?.() === 0
      ? ['setpriv', ['--reuid=postgres', '--regid=postgres', '--clear-groups', '--', program, ...args]]
      : [program, [...args]];
  }

  static async start(): Promise<Postgres> {
    const folder = mkdtempSync(join(tmpdir(), 'bkv-pg-'));
    mkdirSync(join(folder, 'data'));
    if (process.getuid?.() === 0) {
      const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
      for (const path of [folder, join(folder, 'data')]) chownSync(path, id('-u'), id('-g'));
      chmodSync(folder, 0o755);
    }
    const init = ['-D', join(folder, 'data'), '-U', 'bkv', '--auth=trust', '--locale=C', '--encoding=UTF8'];
    execFileSync(...Postgres.#run('initdb', init), { stdio: 'ignore', cwd: '/' });
    const port = await freePort();
    const url = `postgres://bkv@localhost:${port}/postgres?host=${encodeURIComponent(folder)}`;
    const postgres = new Postgres(folder, url, port, Postgres.#serve(folder, port));
    await postgres.#ready();
    return postgres;
  }

  static #serve(folder: string, port: number): ChildProcess {
    const listening = ['-c', 'listen_addresses=127.0.0.1', '-p', String(port)];
    const args = ['-D', join(folder, 'data'), '-k', folder, ...listening];
    return spawn(...Postgres.#run('postgres', args), { stdio: 'ignore', cwd: '/' });
  }

  async #ready(): Promise<void> {
    for (let i = 0; i < 100; i++) {
      try {
        execFileSync(
          ...Postgres.#run('pg_isready', ['-h', this.folder, '-p', String(this.port), '-U', 'bkv']),
          { stdio: 'ignore' },
        );
        return;
      } catch {
        await setTimeout(100);
      }
    }
    throw new Error('PostgreSQL did not start');
  }

  /** Ends the server as a crash would, and starts it again. */
  async restart(): Promise<void> {
    await this.#end('SIGQUIT');
    this.child = Postgres.#serve(this.folder, this.port);
    await this.#ready();
  }

  async stop(): Promise<void> {
    await this.#end('SIGINT');
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill(signal);
    await ended;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const PGBOUNCER = '/usr/sbin/pgbouncer';

/** A pooler before a server, which gives a backend to another client after each transaction. */
export class PgBouncer {
  static readonly isInstalled = existsSync(PGBOUNCER);

  private constructor(
    readonly url: string,
    readonly folder: string,
    private readonly lines: readonly string[],
    private readonly child: ChildProcess,
  ) {}

  static async start(postgres: Postgres): Promise<PgBouncer> {
    const folder = mkdtempSync(join(tmpdir(), 'bkv-pgbouncer-'));
    const port = await freePort();
    const lines = [
      '[databases]',
      `pooled = host=127.0.0.1 port=${postgres.port} user=bkv dbname=pooled`,
      '[pgbouncer]',
      `listen_port = ${port}`,
      'listen_addr = 127.0.0.1',
      'unix_socket_dir =',
      'auth_type = any',
      'default_pool_size = 4',
    ];
    writeFileSync(join(folder, 'ini'), [...lines, 'pool_mode = transaction'].join('\n'));
    if (process.getuid?.() === 0) chmodSync(folder, 0o755);
    const command = [PGBOUNCER, '-q', join(folder, 'ini')];
    const lent = ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups', '--'];
    const [program, ...args] = [...(process.getuid?.() === 0 ? lent : []), ...command] as [string];
    const child = spawn(program, args, { stdio: 'ignore', cwd: '/' });
    await setTimeout(500);
    return new PgBouncer(`postgres://bkv@127.0.0.1:${port}/pooled`, folder, lines, child);
  }

  /** Changes the pool mode, from the next connection on. */
  mode(mode: string): void {
    writeFileSync(join(this.folder, 'ini'), [...this.lines, `pool_mode = ${mode}`].join('\n'));
    this.child.kill('SIGHUP');
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGKILL');
    await ended;
    rmSync(this.folder, { recursive: true, force: true });
  }
}
