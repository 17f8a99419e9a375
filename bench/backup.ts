/**
 * Measures backup and restore. One large file is compared with age. A mixed folder is compared with restic, in a folder and
 * over S3 with 50 ms of added latency. The two sides run in turns, several times each. Last comes a folder of a million files.
 */
import { spawn } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomStream } from '../rig/random.js';
import { proxy, s3 } from '../rig/servers.js';
import { formatKey, newBackupKey } from '../src/client/index.js';

const LARGE = 1024 ** 3;
const FILES = 5000;
const ROUNDS = 3;
const MANY = Number(process.env.BKV_BENCH_FILES ?? 1_000_000);
const LATENCY_MS = 50;

const seed = Number(process.env.BKV_SEED ?? 1);
const bytes = randomStream(seed);
const work = mkdtempSync(join(tmpdir(), 'bkv-bench-backup-'));
const at = (name: string): string => join(work, name);
const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

/** Environment of both programs: the S3 service's keys and, once it runs, its endpoint. */
const KEYS: Record<string, string> = { AWS_ACCESS_KEY_ID: 'S3RVER', AWS_SECRET_ACCESS_KEY: 'S3RVER' };

interface Run {
  readonly seconds: number;
  /** peak resident memory, bytes */
  readonly memory: number;
}

/** Runs a program, then sync: the time includes the writing to the disk, which bkv and restic wait for and age does not. */
async function run(command: string, args: string[], input?: string): Promise<Run> {
  await ended(spawn('sync'));
  const start = performance.now();
  const child = spawn('/usr/bin/time', ['-f', '%M', command, ...args], {
    env: { ...process.env, ...KEYS, RESTIC_PASSWORD: 'bench', RESTIC_CACHE_DIR: at('restic-cache') },
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (text) => {
    said += text;
  });
  child.stdin.end(input);
  if ((await ended(child)) !== 0) throw new Error(`${command} ${args[0]}: ${said}`);
  await ended(spawn('sync'));
  const seconds = (performance.now() - start) / 1000;
  return { seconds, memory: Number(said.trim().split('\n').at(-1)) * 1024 };
}

/** The body of a request without the chunk signatures that restic sends, which s3rver would store as data. */
async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  const body = Buffer.concat(pieces);
  if (!String(request.headers['x-amz-content-sha256']).startsWith('STREAMING')) return body;
  const chunks: Buffer[] = [];
  for (let at = 0; at < body.length; ) {
    const begin = body.indexOf('\r\n', at) + 2;
    const length = Number.parseInt(body.toString('latin1', at, begin), 16);
    chunks.push(body.subarray(begin, begin + length));
    at = begin + length + 2;
  }
  return Buffer.concat(chunks);
}

const ended = (child: ReturnType<typeof spawn>): Promise<number | null> =>
  new Promise((resolve, reject) => child.once('exit', resolve).once('error', reject));

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] as number;
let memory = 0;

/** Prints the median seconds of both sides, and how many times as fast ours is. */
async function compare(what: string, name: string, ours: () => Promise<Run>, theirs: () => Promise<Run>) {
  const [mine, other]: [number[], number[]] = [[], []];
  for (let i = 0; i < ROUNDS; i++) {
    const one = await ours();
    memory = Math.max(memory, one.memory);
    mine.push(one.seconds);
    other.push((await theirs()).seconds);
  }
  const [a, b] = [median(mine), median(other)];
  say(
    `${what.padEnd(42)} bkv ${a.toFixed(2).padStart(6)} s   ${name.padEnd(6)} ${b.toFixed(2).padStart(6)} s   ${(b / a).toFixed(2)} times as fast`,
  );
}

const bkv = (command: string, ...args: string[]) =>
  run(process.execPath, ['dist/src/cli/main.js', command, ...args, '--key-file', at('key')]);
const anew = (name: string): string => {
  rmSync(at(name), { recursive: true, force: true });
  return at(name);
};

try {
  writeFileSync(at('key'), formatKey(newBackupKey()));
  mkdirSync(at('large'));
  const file = openSync(at('large/video.mp4'), 'w');
  for (let i = 0; i < LARGE / 2 ** 24; i++) writeSync(file, bytes(2 ** 24));
  closeSync(file);
  let total = 0;
  for (let i = 0; i < FILES; i++) {
    const folder = at(`mixed/${i % 50}`);
    mkdirSync(folder, { recursive: true });
    const size = i % 100 === 0 ? 3_000_000 : i % 5 === 0 ? 300_000 : 2_000;
    total += size;
    writeFileSync(join(folder, `${i}`), bytes(size));
  }
  say(`seed ${seed}; a file of 1 GiB; ${FILES} files of ${(total / 1e6).toFixed(0)} MB`);

  const keygen = spawn('age-keygen', ['-o', at('age-key')], { stdio: ['ignore', 'ignore', 'pipe'] });
  let recipient = '';
  keygen.stderr.on('data', (text) => {
    recipient += text;
  });
  await ended(keygen);
  recipient = /age1\w+/.exec(recipient)?.[0] as string;

  await compare(
    '1 GiB, encrypted',
    'age',
    () => bkv('backup', at('large'), anew('cloud')),
    () => run('age', ['-r', recipient, '-o', anew('large.age'), at('large/video.mp4')]),
  );
  await compare(
    '1 GiB, restored',
    'age',
    () => bkv('restore', at('cloud'), anew('restored')),
    () => run('age', ['-d', '-i', at('age-key'), '-o', anew('restored.mp4'), at('large.age')]),
  );
  if (statSync(at('restored/video.mp4')).size !== LARGE) throw new Error('the file was not restored');

  const restic = (...args: string[]) => run('restic', ['-r', at('restic'), '-q', ...args]);
  await compare(
    `${FILES} files, first backup`,
    'restic',
    () => bkv('backup', at('mixed'), anew('cloud')),
    async () => {
      anew('restic-cache');
      anew('restic');
      await restic('init');
      return restic('backup', at('mixed'));
    },
  );
  await compare(
    `${FILES} files, nothing changed`,
    'restic',
    () => bkv('backup', at('mixed'), at('cloud')),
    () => restic('backup', at('mixed')),
  );
  await compare(
    `${FILES} files, restored`,
    'restic',
    () => bkv('restore', at('cloud'), anew('restored')),
    () => restic('restore', 'latest', '--target', anew('restored-restic')),
  );
  await compare(
    `${FILES} files, one of them restored`,
    'restic',
    () => bkv('restore', at('cloud'), anew('restored'), '--only', '7/7'),
    () => restic('restore', 'latest', '--target', anew('restored-restic'), '--include', at('mixed/7/7')),
  );
  say(`most memory of bkv: ${(memory / 1e6).toFixed(0)} MB`);

  mkdirSync(at('s3'));
  const [service, port] = await s3(at('s3'), ['bench']);
  const slow = await proxy(port, async (request, _response, pass) => {
    const body = await bodyOf(request);
    setTimeout(() => pass({ body }), LATENCY_MS);
  });
  KEYS.AWS_ENDPOINT_URL_S3 = `http://127.0.0.1:${slow.port}`;
  let round = 0;
  const bucket = (name: string) => `s3:http://127.0.0.1:${slow.port}/bench/${name}`;
  await compare(
    `${FILES} files, S3 with ${LATENCY_MS} ms, first backup`,
    'restic',
    () => bkv('backup', at('mixed'), `s3://bench/bkv-${++round}`),
    async () => {
      anew('restic-cache');
      await run('restic', ['-r', bucket(`restic-${round}`), '-q', 'init']);
      return run('restic', ['-r', bucket(`restic-${round}`), '-q', 'backup', at('mixed')]);
    },
  );
  await compare(
    `${FILES} files, S3 with ${LATENCY_MS} ms, restored`,
    'restic',
    () => bkv('restore', `s3://bench/bkv-${round}`, anew('restored')),
    () =>
      run('restic', [
        '-r',
        bucket(`restic-${round}`),
        '-q',
        'restore',
        'latest',
        '--target',
        anew('restored-restic'),
      ]),
  );
  service.kill();
  slow.server.close();

  for (let i = 0; i < MANY; i++) {
    const folder = at(`many/${i % 1000}`);
    if (i < 1000) mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `message ${i}.json`), `{"message":${i}}`);
  }
  for (const what of ['first backup', 'nothing changed']) {
    const { seconds, memory } = await bkv('backup', at('many'), at('many-cloud'));
    say(`${MANY} files, ${what}: ${seconds.toFixed(1)} s, ${(memory / 1e6).toFixed(0)} MB`);
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
