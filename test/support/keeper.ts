import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { isAlive } from '../../rig/processes.js';
import { type Reached, TestedVault } from '../../rig/tested.js';
import { tokenConfig } from '../../rig/token.js';
import type { FleetVault } from '../../src/client/index.js';
import { prepareEmbedded } from '../../src/daemon/embedded.js';
import { embeddedJwt, makeIssuer } from '../../src/daemon/index.js';
import { app } from '../../src/http/app.js';
import { listen } from '../../src/http/serve.js';
import { readLogin } from '../../src/keeper/elements/index.js';
import { connectAdmin, connectKeeper, type KeeperAdmin, SOCKETS } from '../../src/keeper/socket/index.js';
import type { Caller, KeeperApi, Shredded } from '../../src/keeper/vault/index.js';

/** A keeper without the processes of HTTP, on the embedded default. It starts in a third of a daemon's time. */
export class Keeper extends TestedVault {
  readonly #child: ChildProcess;
  readonly #api: KeeperApi & { disconnect(): void };
  readonly #admin: KeeperAdmin & { disconnect(): void };
  readonly #callers = new Map<string, Promise<Caller>>();

  #http: { server: Server; url: string } | undefined;

  private constructor(
    child: ChildProcess,
    readonly data: string,
    sockets: string,
  ) {
    super();
    this.#child = child;
    child.once('exit', () => rmSync(sockets, { recursive: true, force: true }));
    this.#api = connectKeeper(join(sockets, SOCKETS.api));
    this.#admin = connectAdmin(join(sockets, SOCKETS.admin));
  }

  /** @throws when it ends before it is ready */
  static async start(
    data: string,
    { config: options = '', env = {} }: { config?: string; env?: NodeJS.ProcessEnv } = {},
  ): Promise<Keeper> {
    const config = options + tokenConfig(data);
    if (!config.includes('profile:')) await prepareEmbedded(data);
    await makeIssuer(data);
    const sockets = mkdtempSync(join(tmpdir(), 'bkv-'));
    writeFileSync(join(sockets, 'test.yaml'), config);
    const { SOFTHSM2_CONF: _, BKV_TOKEN_PIN: __, ...rest } = process.env;
    const args = [
      ...['--data', data, '--sockets', sockets],
      ...(config ? ['--config', join(sockets, 'test.yaml')] : []),
    ];
    const child = spawn(process.execPath, ['dist/src/cli/main.js', 'keeper', ...args], {
      env: { ...rest, ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const keeper = new Keeper(child, data, sockets);
    try {
      await new Promise<void>((resolve, reject) => {
        child.once('exit', (code) => reject(new Error(`the keeper ended with ${code}: ${keeper.logs}`)));
        createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
          keeper.logs += `${line}\n`;
          if (line.includes('"keeper ready"')) resolve();
        });
      });
    } catch (error) {
      keeper.#disconnect();
      throw error;
    }
    const { serverPublicKey } = await patiently(() => keeper.#admin.health());
    await patiently(() => keeper.#api.identity());
    keeper.serverPublicKey = Buffer.from(serverPublicKey).toString('base64url');
    return keeper;
  }

  async reach(account: string): Promise<Reached> {
    const caller = await this.#caller(account);
    const api = this.#api as unknown as Record<string, (call: object) => Promise<Record<string, never>>>;
    return {
      account,
      ask: async (method, given) => {
        const login = given.KE1 instanceof Uint8Array && readLogin(given.KE1);
        return (await api[method]?.({ caller, ...given, ...login })) ?? {};
      },
    };
  }

  #caller(account: string): Promise<Caller> {
    const made =
      this.#callers.get(account) ??
      this.jwt(account).then((accessToken) => ({ accessToken, requestId: 'test' }));
    this.#callers.set(account, made);
    return made;
  }

  async abandon(account: string, recoveryId: string): Promise<{ status: number }> {
    await this.#api.abandonRecovery({ caller: await this.#caller(account), recoveryId });
    return { status: 204 };
  }

  async status(account: string): Promise<{ state: string; attemptsRemaining?: number }> {
    return this.#api.status({ caller: await this.#caller(account) });
  }

  async delete(account: string): Promise<void> {
    await this.#api.delete({ caller: await this.#caller(account) });
  }

  async shred({ all = false, abandonLost = false } = {}): Promise<Shredded[]> {
    const pages: Shredded[] = [];
    await this.#admin.shred({ all, abandonLost }, (page) => pages.push(page));
    return pages;
  }

  async ready(): Promise<boolean> {
    return (await this.#admin.health()).trouble === undefined;
  }

  jwt(account: string): Promise<string> {
    return embeddedJwt(this.data, account, 3600);
  }

  /** An account's name in database and logs, read from what is logged of a status request. */
  async nameOf(account: string): Promise<string> {
    const requestId = `name-of-${account}`;
    await this.#api.status({ caller: { ...(await this.#caller(account)), requestId } });
    for (let i = 0; i < 200; i++) {
      const line = this.logs.split('\n').find((one) => one.includes(requestId));
      if (line) return (JSON.parse(line) as { account: string }).account;
      await setTimeout(10);
    }
    throw new Error('the request was not logged');
  }

  /** Its entry in a fleet file: the API over HTTP is then served by this process. */
  async fleetEntry(): Promise<FleetVault> {
    const unlimited = (_: unknown, __: unknown, next: () => void) => next();
    const limits = { limit: unlimited, followingLimit: unlimited };
    this.#http ??= await listen(
      app(this.#api, { ...limits, trustedProxies: [], origins: [], version: '0' }),
      { host: '127.0.0.1', port: 0 },
    );
    return { url: this.#http.url, serverPublicKey: Buffer.from(this.serverPublicKey, 'base64url') };
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.#disconnect();
    const { exitCode, signalCode, pid } = this.#child;
    if (exitCode !== null || signalCode !== null) return exitCode;
    const ended = new Promise<number | null>((resolve) => this.#child.once('exit', resolve));
    this.#child.kill(signal);
    if (signal === 'SIGTERM') void this.hurry(this.#child, signal);
    const code = await ended;
    while (isAlive(pid as number)) await setTimeout(5);
    return code;
  }

  #disconnect(): void {
    this.#api.disconnect();
    this.#admin.disconnect();
    this.#http?.server.close();
    this.#http?.server.closeAllConnections();
  }
}

/** The connection is made meanwhile. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (let i = 0; ; i++) {
    try {
      return await work();
    } catch (error) {
      if (i === 200) throw error;
      await setTimeout(10);
    }
  }
}
