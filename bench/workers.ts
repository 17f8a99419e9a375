import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { cpuOf, processesOf } from '../rig/processes.js';
import { API, SOCKETS, SocketServer } from '../src/keeper/socket/index.js';
import type { KeeperApi } from '../src/keeper/vault/index.js';
import { SIZES } from '../src/protocol/index.js';

const CONNECTIONS = 64;
const LIMITS = 'rateLimit: { account: 1000000, address: 100000000 }\n';

const recoveryId = 'A'.repeat(22);
/** A keeper whose token answers at once: no more than HTTP is measured. */
const ANSWERS = {
  identity: { serverPublicKey: new Uint8Array(SIZES.element), maxAttempts: 10, exchangeSeconds: 60 },
  startRecovery: { recoveryId, KE2: new Uint8Array(SIZES.KE2), attemptsRemaining: 9 },
  finishRecovery: { encryptedBackupKey: new Uint8Array(60), failedAttempts: 0 },
} satisfies { [N in keyof KeeperApi]?: Awaited<ReturnType<KeeperApi[N]>> };

const request = (path: string, body: object): string => {
  const text = JSON.stringify(body);
  const head = `POST ${path} HTTP/1.1\r\nHost: vault\r\nAuthorization: Bearer a.b.c\r\n`;
  return `${head}Content-Type: application/json\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
};
const encode = (length: number): string => Buffer.alloc(length).toString('base64url');
const START = request('/v1/recovery/start', { KE1: encode(SIZES.KE1) });
const FINISH = request('/v1/recovery/finish', { recoveryId, KE3: encode(SIZES.KE3) });

/** Recovers over one connection, again and again. @returns how often until the signal */
function recoverUntil(port: number, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    let finished = -1;
    let isFinish = true;
    let answer = '';
    const socket = connect(port, '127.0.0.1').setEncoding('latin1').setNoDelay();
    const next = () => {
      answer = '';
      if (isFinish) finished++;
      if (isFinish && signal.aborted) return socket.end(() => resolve(finished));
      isFinish = !isFinish;
      socket.write(isFinish ? FINISH : START);
      return undefined;
    };
    socket.once('connect', next).once('error', reject);
    socket.on('data', (chunk: string) => {
      answer += chunk;
      const [head, length] = /^HTTP\/1\.1 200 .*?\ncontent-length: (\d+)\r.*?\n\r\n/is.exec(answer) ?? [];
      if (head && answer.length === head.length + Number(length)) next();
      else if (!answer.startsWith('HTTP/1.1 200 ')) reject(new Error(answer));
    });
  });
}

async function recoverFor(port: number, ms: number): Promise<number> {
  const signal = AbortSignal.timeout(ms);
  const counts = await Promise.all(Array.from({ length: CONNECTIONS }, () => recoverUntil(port, signal)));
  return counts.reduce((sum, count) => sum + count, 0);
}

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

/**
 * What the HTTP side can do at most, with a number of workers.
 * @returns recoveries a second by the clock, and milliseconds of processor time that one costs all its processes
 */
export async function httpAlone(workers: number, seconds: number): Promise<{ rate: number; ms: number }> {
  const sockets = mkdtempSync(join(tmpdir(), 'bkv-bench-'));
  const path = join(sockets, SOCKETS.api);
  mkdirSync(dirname(path), { mode: 0o700 });
  const handlers = Object.fromEntries(
    Object.keys(API).map((name) => [name, async () => ANSWERS[name as keyof typeof ANSWERS]]),
  ) as { [N in keyof typeof API]: () => Promise<never> };
  const keeper = await SocketServer.listen(API, handlers, { path, mode: 0o600, open: 1024, running: 1024 });
  const { child, port } = await startHttp(sockets, workers);
  const { workers: pids } = processesOf(process.pid);
  const cpu = () => [child.pid as number, ...pids].reduce((sum, pid) => sum + cpuOf(pid), 0);
  try {
    await recoverFor(port, 3000);
    const [before, start] = [cpu(), performance.now()];
    const count = await recoverFor(port, seconds * 1000);
    return {
      rate: (count * 1000) / (performance.now() - start),
      ms: ((cpu() - before) * 1000) / count,
    };
  } finally {
    child.kill('SIGTERM');
    await keeper.close(0);
    rmSync(sockets, { recursive: true, force: true });
  }
}
