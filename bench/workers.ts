import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { childrenOf, cpuOf } from '../rig/processes.js';
import { API, SOCKETS, SocketServer } from '../src/keeper/socket/index.js';
import type { KeeperApi } from '../src/keeper/vault/index.js';
import { SIZES } from '../src/protocol/index.js';
import { type Load, type Loaded, RECOVERY_ID } from './load.js';

const LIMITS = 'rateLimit: { account: 1000000, address: 100000000 }\n';

/** The answers of a stand-in for the keeper, which answers at once, so that only HTTP is measured. */
const ANSWERS = {
  identity: { serverPublicKey: new Uint8Array(SIZES.element), maxAttempts: 10, exchangeSeconds: 60 },
  startRecovery: { recoveryId: RECOVERY_ID, KE2: new Uint8Array(SIZES.KE2), attemptsRemaining: 9 },
  finishRecovery: { encryptedBackupKey: new Uint8Array(60), failedAttempts: 0 },
} satisfies { [N in keyof KeeperApi]?: Awaited<ReturnType<KeeperApi[N]>> };

async function startHttp(sockets: string, workers: number): Promise<{ child: ChildProcess; port: number }> {
  const config = join(sockets, 'bench.yaml');
  writeFileSync(config, `httpWorkers: ${workers}\n${LIMITS}`);
  const args = ['dist/src/cli/main.js', 'http', '--sockets', sockets, '--config', config];
  const child = spawn(process.execPath, [...process.execArgv, ...args, '--listen', '127.0.0.1:0'], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  const port = await new Promise<number>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`bkv http ended with ${code}`)));
    createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
      const { message, url } = JSON.parse(line);
      if (message === 'serving') resolve(Number(new URL(url).port));
    });
  });
  return { child, port };
}

/** Throughput of the HTTP side alone, and each part's processor time for one recovery, milliseconds. */
export interface Alone {
  /** recoveries a second of wall time */
  readonly rate: number;
  /** recoveries a second, over all workers, at which the busiest worker would use a whole core */
  readonly ceiling: number;
  readonly http: number;
  readonly keeper: number;
  readonly generator: number;
}

/** Measures the highest throughput of the HTTP side with this many workers. */
export async function httpAlone(workers: number, seconds: number): Promise<Alone> {
  const sockets = mkdtempSync(join(tmpdir(), 'bkv-bench-'));
  const path = join(sockets, SOCKETS.api);
  mkdirSync(dirname(path), { mode: 0o700 });
  const handlers = Object.fromEntries(
    Object.keys(API).map((name) => [name, async () => ANSWERS[name as keyof typeof ANSWERS]]),
  ) as { [N in keyof typeof API]: () => Promise<never> };
  const keeper = await SocketServer.listen(API, handlers, {
    path,
    mode: 0o600,
    connections: 64,
    open: 1024,
    running: 1024,
  });
  const generator = fork(new URL('./load.js', import.meta.url));
  const { child, port } = await startHttp(sockets, workers);
  const primary = child.pid as number;
  const pids = childrenOf(primary);
  const load = async (ms: number): Promise<Loaded> => {
    generator.send({ port, ms } satisfies Load);
    const [loaded] = await once(generator, 'message');
    return loaded;
  };
  try {
    await load(3000);
    const [each, first, own] = [pids.map(cpuOf), cpuOf(primary), process.cpuUsage()];
    const { count, ms, cpuMs } = await load(seconds * 1000);
    const { user, system } = process.cpuUsage(own);
    const spent = pids.map((pid, i) => cpuOf(pid) - (each[i] as number));
    const all = spent.reduce((sum, one) => sum + one, cpuOf(primary) - first);
    return {
      rate: (count * 1000) / ms,
      ceiling: count / Math.max(...spent),
      http: (all * 1000) / count,
      keeper: (user + system) / 1000 / count,
      generator: cpuMs / count,
    };
  } finally {
    generator.kill();
    child.kill('SIGTERM');
    await keeper.close(0);
    rmSync(sockets, { recursive: true, force: true });
  }
}
