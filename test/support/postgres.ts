import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

const ROOT = '/usr/lib/postgresql';

/** A PostgreSQL server of its own, in a temporary folder, on a Unix socket. */
export class Postgres {
  private constructor(
    readonly folder: string,
    readonly url: string,
    private child: ChildProcess,
  ) {}

  /** PostgreSQL refuses to run as root: root lends it the system's user for it. */
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
    const url = `postgres://bkv@localhost/postgres?host=${encodeURIComponent(folder)}`;
    const postgres = new Postgres(folder, url, Postgres.#serve(folder));
    await postgres.#ready();
    return postgres;
  }

  static #serve(folder: string): ChildProcess {
    const args = ['-D', join(folder, 'data'), '-k', folder, '-c', 'listen_addresses='];
    return spawn(...Postgres.#run('postgres', args), { stdio: 'ignore', cwd: '/' });
  }

  async #ready(): Promise<void> {
    for (let i = 0; i < 100; i++) {
      try {
        execFileSync(...Postgres.#run('pg_isready', ['-h', this.folder, '-U', 'bkv']), { stdio: 'ignore' });
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
    this.child = Postgres.#serve(this.folder);
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
