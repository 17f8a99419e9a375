import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { embeddedJwt } from '../src/cli/serve.js';
import {
  type ClientLogin,
  createRegistrationRequest,
  finalizeRegistration,
  generateKE1,
  generateKE3,
} from '../src/opaque/index.js';

const CONTEXT = Buffer.from('backup-key-vault v1');
const PASSWORD = Buffer.from('correct horse');
// Stretching is the client's work and not what is measured.
const identity = async (output: Uint8Array) => output.slice();
const encode = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url');

/** A daemon in its own process, and how much of a core it has used. */
export class Daemon {
  readonly data = mkdtempSync(join(tmpdir(), 'bkv-bench-'));
  readonly #agent = new Agent({ keepAlive: true });
  #child: ChildProcess | undefined;
  url = '';
  admin = '';

  async start(): Promise<void> {
    const config = join(this.data, 'bench.yaml');
    writeFileSync(
      config,
      'maxAttempts: 200\nexchangeSeconds: 600\nrateLimit: { account: 1000000, address: 10000000 }\n',
    );
    const child = spawn(
      process.execPath,
      [
        'dist/src/cli/main.js',
        'serve',
        '--config',
        config,
        '--data',
        this.data,
        '--listen',
        '127.0.0.1:0',
        '--admin',
        '127.0.0.1:0',
      ],
      { stdio: ['ignore', 'inherit', 'pipe'], env: { ...process.env, BKV_LOG_LEVEL: 'info' } },
    );
    this.#child = child;
    await new Promise<void>((resolve, reject) => {
      child.once('exit', () => reject(new Error('the daemon ended')));
      createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
        if (line.includes('"error"')) process.stderr.write(`${line}\n`);
        if (!line.includes('"serving"')) return;
        Object.assign(this, JSON.parse(line));
        resolve();
      });
    });
  }

  async stop(): Promise<void> {
    const child = this.#child as ChildProcess;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    this.#agent.destroy();
    await ended;
    rmSync(this.data, { recursive: true, force: true });
  }

  /** Seconds of processor time since the start. */
  cpu(): number {
    const fields = readFileSync(`/proc/${this.#child?.pid}/stat`, 'utf8')
      .split(') ')[1]
      ?.split(' ') as string[];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  async metric(name: string): Promise<number> {
    const text = await (await fetch(new URL('/metrics', this.admin))).text();
    return Number(new RegExp(`^${name} (\\S+)`, 'm').exec(text)?.[1] ?? 0);
  }

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
        response.on('end', () =>
          (response.statusCode ?? 500) < 300
            ? resolve(answer ? JSON.parse(answer) : {})
            : reject(new Error(`${response.statusCode} ${answer}`)),
        );
      })
        .on('error', reject)
        .end(text);
    });
  }
}

export interface Account {
  readonly id: string;
}

/** Registers accounts `a0`, `a1`, … */
export async function registerAccounts(daemon: Daemon, count: number): Promise<Account[]> {
  return Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const id = `a${i}`;
      const jwt = await embeddedJwt(daemon.data, id, 3600);
      const { blind, registrationRequest } = createRegistrationRequest(PASSWORD);
      const started = await daemon.post(jwt, '/v1/registration/start', {
        registrationRequest: encode(registrationRequest),
      });
      const response = Buffer.from(started.registrationResponse as string, 'base64url');
      const { registrationRecord } = await finalizeRegistration(PASSWORD, blind, response, identity, {
        context: CONTEXT,
      });
      await daemon.post(jwt, '/v1/registration/finish', {
        registrationId: started.registrationId,
        registrationRecord: encode(registrationRecord),
        encryptedBackupKey: encode(Buffer.alloc(60)),
      });
      return { id };
    }),
  );
}

/** Runs `work` over all items, `width` at a time. */
export async function parallel<T, R>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (next < items.length) {
        const i = next++;
        results[i] = await work(items[i] as T);
      }
    }),
  );
  return results;
}

/** Whole recoveries over HTTP; only the daemon's time counts, since the client's share is done between the messages. */
export async function recoveries(daemon: Daemon, accounts: readonly Account[], width: number) {
  const logins = await Promise.all(
    accounts.map(async ({ id }) => ({
      jwt: await embeddedJwt(daemon.data, id, 3600),
      login: generateKE1(PASSWORD.slice()) as ClientLogin,
    })),
  );
  const measure = async <R>(work: () => Promise<R>) => {
    const [cpu, wall] = [daemon.cpu(), performance.now()];
    const result = await work();
    return { result, cpu: daemon.cpu() - cpu, wall: (performance.now() - wall) / 1000 };
  };
  const first = await measure(() =>
    parallel(logins, width, ({ jwt, login }) =>
      daemon.post(jwt, '/v1/recovery/start', { KE1: encode(login.KE1) }),
    ),
  );
  const proofs: { jwt: string; body: object }[] = [];
  for (const [i, { jwt, login }] of logins.entries()) {
    const { KE2, recoveryId } = first.result[i] as Record<string, string>;
    const { KE3 } = await generateKE3(login, Buffer.from(KE2 as string, 'base64url'), identity, {
      context: CONTEXT,
    });
    proofs.push({ jwt, body: { recoveryId, KE3: encode(KE3) } });
  }
  const second = await measure(() =>
    parallel(proofs, width, ({ jwt, body }) => daemon.post(jwt, '/v1/recovery/finish', body)),
  );
  return { count: accounts.length, cpu: first.cpu + second.cpu, wall: first.wall + second.wall };
}
