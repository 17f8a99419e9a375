import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { type FleetVault, VaultClient } from '../src/client/index.js';
import { embeddedAuth } from '../src/config/index.js';
import { embeddedJwt, makeIssuer } from '../src/daemon/index.js';
import type { Shredded } from '../src/keeper/vault/index.js';
import { cpuOf, type DaemonProcesses, isAlive, processesOf } from './processes.js';
import { cheapStretch } from './stretching.js';
import { type Reached, TestedVault } from './tested.js';
import { tokenConfig } from './token.js';

const MAIN = 'dist/src/cli/main.js';
const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');

const PATHS = {
  startRegistration: '/v1/registration/start',
  finishRegistration: '/v1/registration/finish',
  startRecovery: '/v1/recovery/start',
  finishRecovery: '/v1/recovery/finish',
} as const;

export interface StartOptions {
  /** lines of the daemon's configuration, YAML */
  readonly config?: string;
  /** a module loaded before each process of the daemon, on every thread */
  readonly preload?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** the module of `bkv`, if it is installed elsewhere */
  readonly main?: string;
}

export class HttpFailure extends Error {
  constructor(
    readonly status: number,
    readonly problem: { readonly type?: string; readonly attemptsRemaining?: number },
  ) {
    super(`${status} ${problem.type}`);
  }
}

/** A daemon in its own processes, on the embedded default. `child` is the supervisor. */
export class Daemon extends TestedVault {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #jwts = new Map<string, Promise<string>>();
  url = '';
  admin = '';

  private constructor(
    readonly child: ChildProcess,
    readonly data: string,
  ) {
    super();
  }

  static async start(
    data: string,
    { config: options = '', preload, env = {}, main = MAIN }: StartOptions = {},
  ): Promise<Daemon> {
    let config = options.includes('profile:') ? options : options + tokenConfig(data);
    if (config.includes('profile:') && !config.includes('auth:')) {
      await makeIssuer(data);
      config += `auth: ${JSON.stringify(embeddedAuth(data))}\n`;
    }
    const { SOFTHSM2_CONF: _, BKV_TOKEN_PIN: __, ...rest } = process.env;
    const args = [main, 'serve', '--data', data, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
    if (config) {
      writeFileSync(join(data, 'test.yaml'), config);
      args.push('--config', join(data, 'test.yaml'));
    }
    if (preload) args.unshift('--import', preload);
    const child = spawn(process.execPath, args, {
      env: { ...rest, ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const daemon = new Daemon(child, data);
    await new Promise<void>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`the daemon ended with ${code}: ${daemon.logs}`)));
      createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
        daemon.logs += `${line}\n`;
        if (/"message":"serving( the operator)?"/.test(line)) Object.assign(daemon, JSON.parse(line));
        if (daemon.url && daemon.admin) resolve();
      });
    });
    return daemon;
  }

  /** Ends the daemon: at once, even if an exchange is open, unless `patient` is set. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', { patient = false } = {}): Promise<number | null> {
    if (!patient) this.#agent.destroy();
    if (this.child.exitCode !== null) return this.child.exitCode;
    if (this.child.signalCode !== null) return null;
    const ended = new Promise<number | null>((resolve) => this.child.once('exit', resolve));
    if (signal === 'SIGKILL') await this.#killAll();
    else {
      this.child.kill(signal);
      if (!patient) void this.hurry(this.child, signal);
    }
    return ended;
  }

  /** Ends all processes, as a power cut does. */
  async #killAll(): Promise<void> {
    // The supervisor first, because it would start others again.
    const { all } = this.processes();
    for (const pid of all) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    while (all.some(isAlive)) await setTimeout(5);
  }

  /** The processes as they are now. */
  processes(): DaemonProcesses {
    return processesOf(this.child.pid as number);
  }

  signalKeeper(signal: NodeJS.Signals): void {
    const { keeper } = this.processes();
    if (keeper) process.kill(keeper, signal);
  }

  jwt(account: string): Promise<string> {
    const made = this.#jwts.get(account) ?? embeddedJwt(this.data, account, 3600);
    this.#jwts.set(account, made);
    return made;
  }

  /** A client that does not stretch. */
  client(account: string, serverPublicKey = this.serverPublicKey): VaultClient {
    return new VaultClient({
      stretch: cheapStretch,
      url: this.url,
      serverPublicKey: Buffer.from(serverPublicKey, 'base64url'),
      account,
      accessToken: () => this.jwt(account),
    });
  }

  async fetch(account: string | undefined, method: string, path: string, body?: unknown): Promise<Response> {
    const authorization = account && `Bearer ${await this.jwt(account)}`;
    return fetch(new URL(path, this.url), {
      method,
      headers: { ...(authorization && { authorization }), 'content-type': 'application/json' },
      body: body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body),
    });
  }

  /** An account's name in database and logs, read from the log line of a status request. */
  async nameOf(account: string): Promise<string> {
    const id = (await this.fetch(account, 'GET', '/v1/account')).headers.get('x-request-id') as string;
    for (let i = 0; i < 200; i++) {
      const line = this.logs.split('\n').find((one) => one.includes(id) && one.includes('"account"'));
      if (line) return (JSON.parse(line) as { account: string }).account;
      await setTimeout(10);
    }
    throw new Error('the request was not logged');
  }

  /** What the vault says about an account. */
  async status(account: string): Promise<{ state: string; attemptsRemaining: number }> {
    const response = await this.fetch(account, 'GET', '/v1/account');
    return (await response.json()) as { state: string; attemptsRemaining: number };
  }

  async ready(): Promise<boolean> {
    return (await fetch(new URL('/readyz', this.admin))).ok;
  }

  /** Posts JSON. @throws HttpFailure */
  post(jwt: string, path: string, body: object): Promise<Record<string, string>> {
    return new Promise((resolve, reject) => {
      const text = JSON.stringify(body);
      const headers = {
        authorization: `Bearer ${jwt}`,
        'content-type': 'application/json',
        'content-length': text.length,
      };
      request(new URL(path, this.url), { method: 'POST', agent: this.#agent, headers }, (response) => {
        let answer = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          answer += chunk;
        });
        response.on('end', () => {
          const parsed = answer ? JSON.parse(answer) : {};
          if ((response.statusCode ?? 500) < 300) resolve(parsed);
          else reject(new HttpFailure(response.statusCode ?? 500, parsed));
        });
        response.on('error', reject);
      })
        .on('error', reject)
        .end(text);
    });
  }

  async reach(account: string): Promise<Reached> {
    const jwt = await this.jwt(account);
    return {
      account,
      ask: (method, given) =>
        this.post(
          jwt,
          PATHS[method],
          Object.fromEntries(
            Object.entries(given).map(([name, value]) => [
              name,
              value instanceof Uint8Array ? encode(value) : value,
            ]),
          ),
        ),
    };
  }

  abandon(account: string, recoveryId: string): Promise<Response> {
    return this.fetch(account, 'DELETE', `/v1/recovery/${recoveryId}`);
  }

  async delete(account: string): Promise<void> {
    const { status } = await this.fetch(account, 'DELETE', '/v1/account');
    if (status >= 300) throw new HttpFailure(status, {});
  }

  async shred(options: { all?: boolean; abandonLost?: boolean } = {}): Promise<Shredded[]> {
    const response = await fetch(new URL('/shred', this.admin), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(options),
    });
    return (await response.text())
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line));
  }

  /** Labels of all objects of the token. */
  objects(): string[] {
    return JSON.parse(
      execFileSync(process.execPath, ['dist/rig/objects.js', this.data], { encoding: 'utf8' }),
    );
  }

  /** This vault's entry in a fleet file; `url` is given if the vault is reached through a proxy. */
  fleetEntry(url = this.url): FleetVault {
    return { url, serverPublicKey: Buffer.from(this.serverPublicKey, 'base64url') };
  }

  /** Seconds of processor time since the start, of all processes. */
  cpu(): number {
    return this.processes().all.reduce((sum, pid) => sum + cpuOf(pid), 0);
  }

  /** Bytes resident, of all processes. */
  memory(): number {
    const rss = (pid: number) =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    return this.processes().all.reduce((sum, pid) => sum + rss(pid) * 1024, 0);
  }

  async metric(name: string): Promise<number> {
    const text = await (await fetch(new URL('/metrics', this.admin))).text();
    return Number(new RegExp(`^${name} (\\S+)`, 'm').exec(text)?.[1] ?? 0);
  }
}
