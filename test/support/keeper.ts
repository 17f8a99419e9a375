import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { isAlive } from '../../rig/processes.js';
import { type Reached, TestedVault } from '../../rig/tested.js';
import { prepareEmbedded } from '../../src/daemon/embedded.js';
import { embeddedJwt, makeIssuer } from '../../src/daemon/index.js';
import {
  connectAdmin,
  connectKeeper,
  type KeeperAdmin,
  type ShreddedPage,
  SOCKETS,
} from '../../src/keeper/socket/index.js';
import type { Caller, KeeperApi } from '../../src/keeper/vault/index.js';

/** A keeper without the processes of HTTP, on the embedded default. It starts in a third of a daemon's time. */
export class Keeper extends TestedVault {
  readonly #child: ChildProcess;
  readonly #api: KeeperApi & { disconnect(): void };
  readonly #admin: KeeperAdmin & { disconnect(): void };
  readonly #callers = new Map<string, Promise<Caller>>();

  private constructor(
    child: ChildProcess,
    readonly data: string,
    sockets: string,
  ) {
    super();
    this.#child = child;
    this.#api = connectKeeper(join(sockets, SOCKETS.api));
    this.#admin = connectAdmin(join(sockets, SOCKETS.admin));
  }

  /** @param sockets folder for its sockets @throws when it ends before it is ready */
  static async start(
    data: string,
    sockets: string,
    { config = '', env = {} }: { config?: string; env?: NodeJS.ProcessEnv } = {},
  ): Promise<Keeper> {
    await prepareEmbedded(data);
    await makeIssuer(data);
    writeFileSync(join(sockets, 'test.yaml'), config);
    const { SOFTHSM2_CONF: _, BKV_TOKEN_PIN: __, ...rest } = process.env;
    const args = [
      '--data',
      data,
      '--sockets',
      sockets,
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
    return { account, ask: async (method, given) => (await api[method]?.({ caller, ...given })) ?? {} };
  }

  #caller(account: string): Promise<Caller> {
    const made =
      this.#callers.get(account) ??
      embeddedJwt(this.data, account, 3600).then((accessToken) => ({ accessToken, requestId: 'test' }));
    this.#callers.set(account, made);
    return made;
  }

  async abandon(account: string, recoveryId: string): Promise<{ status: number }> {
    await this.#api.abandonRecovery({ caller: await this.#caller(account), recoveryId });
    return { status: 204 };
  }

  async status(account: string) {
    return this.#api.status({ caller: await this.#caller(account) });
  }

  async delete(account: string): Promise<void> {
    await this.#api.delete({ caller: await this.#caller(account) });
  }

  async shred({ all = false, abandonLost = false } = {}): Promise<ShreddedPage[]> {
    const pages: ShreddedPage[] = [];
    await this.#admin.shred({ all, abandonLost }, (page) => pages.push(page));
    return pages;
  }

  async ready(): Promise<boolean> {
    return (await this.#admin.health()).trouble === undefined;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.#disconnect();
    const { exitCode, signalCode, pid } = this.#child;
    if (exitCode !== null || signalCode !== null) return exitCode;
    const ended = new Promise<number | null>((resolve) => this.#child.once('exit', resolve));
    this.#child.kill(signal);
    // The second signal ends the wait for exchanges that a test has left open.
    void setTimeout(100).then(() => this.#child.kill(signal));
    const code = await ended;
    while (isAlive(pid as number)) await setTimeout(5);
    return code;
  }

  #disconnect(): void {
    this.#api.disconnect();
    this.#admin.disconnect();
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
