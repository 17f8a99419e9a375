/** A load generator, as cheap as possible: recovers over many connections, in its own process, as long as its parent asks. */
import { connect } from 'node:net';
import { generateKE1, SIZES } from '../src/protocol/index.js';

/** The parent's message, which {@link Loaded} answers. */
export interface Load {
  readonly port: number;
  readonly ms: number;
}
export interface Loaded {
  /** whole recoveries */
  readonly count: number;
  /** wall time, milliseconds */
  readonly ms: number;
  /** processor time of this process, milliseconds */
  readonly cpuMs: number;
}

const CONNECTIONS = 64;
/** Recoveries over one connection. If connections stayed open, a worker that accepted many at once would keep them all. */
const OVER_ONE = 50;
/** The id that the stand-in for the keeper gives to every recovery. */
export const RECOVERY_ID = 'A'.repeat(22);

const request = (path: string, body: object): string => {
  const text = JSON.stringify(body);
  const head = `POST ${path} HTTP/1.1\r\nHost: vault\r\nAuthorization: Bearer a.b.c\r\n`;
  return `${head}Content-Type: application/json\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
};
const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
const START = request('/v1/recovery/start', { KE1: encode(generateKE1(Buffer.from('any')).KE1) });
const FINISH = request('/v1/recovery/finish', {
  recoveryId: RECOVERY_ID,
  KE3: encode(new Uint8Array(SIZES.KE3)),
});

async function recoverUntil(port: number, signal: AbortSignal): Promise<number> {
  let count = 0;
  while (!signal.aborted) count += await recoverOver(port, signal);
  return count;
}

/** Recovers over one connection, up to {@link OVER_ONE} times. @returns the number of recoveries */
function recoverOver(port: number, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    let finished = -1;
    let isFinish = true;
    let answer = '';
    const socket = connect(port, '127.0.0.1').setEncoding('latin1').setNoDelay();
    const next = () => {
      answer = '';
      if (isFinish) finished++;
      if (isFinish && (signal.aborted || finished === OVER_ONE)) return socket.end(() => resolve(finished));
      isFinish = !isFinish;
      socket.write(isFinish ? FINISH : START);
      return undefined;
    };
    socket.once('connect', next).once('error', reject);
    socket.on('data', (chunk: string) => {
      answer += chunk;
      if (!answer.startsWith('HTTP/1.1 200 ')) reject(new Error(answer));
      // The answers' JSON is one flat object, so that its only brace ends the answer.
      else if (answer.endsWith('}')) next();
    });
  });
}

async function load({ port, ms }: Load): Promise<Loaded> {
  const [before, start] = [process.cpuUsage(), performance.now()];
  const signal = AbortSignal.timeout(ms);
  const counts = await Promise.all(Array.from({ length: CONNECTIONS }, () => recoverUntil(port, signal)));
  const { user, system } = process.cpuUsage(before);
  return {
    count: counts.reduce((sum, count) => sum + count, 0),
    ms: performance.now() - start,
    cpuMs: (user + system) / 1000,
  };
}

process.on('message', async (wanted: Load) => process.send?.(await load(wanted)));
