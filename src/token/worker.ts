import { parentPort, workerData } from 'node:worker_threads';
import type { Reply } from './pool.js';
import type { Profile } from './profile.js';
import { Session } from './session.js';

type Message =
  | 'close'
  | { learn: Parameters<Session['learn']> }
  | { method: keyof Session; args: unknown[] }[];

const port = parentPort;
if (!port) throw new Error('worker.ts runs on a worker thread');

const { profile, epoch } = workerData as { profile: Profile; epoch: number };
const session = new Session(profile, epoch);
port.postMessage('ready');

function run(method: keyof Session, args: unknown[]): Reply {
  const start = performance.now();
  try {
    const value = (session[method] as (...args: unknown[]) => unknown).apply(session, args);
    return { value, ms: performance.now() - start };
  } catch (error) {
    const { name, message, code } = error as Error & { code?: unknown };
    // A module may name any reason for the first failure after its device went away: the session itself is asked.
    // A handle that was good when the session began tells the same.
    const lost = name !== 'InvalidPoint' && (/HANDLE_INVALID/.test(message) || !session.alive);
    return { error: { name, message, code, lost }, ms: performance.now() - start };
  }
}

port.on('message', (message: Message) => {
  if (message === 'close') {
    session.close();
    port.close();
  } else if ('learn' in message) session.learn(...message.learn);
  else port.postMessage(message.map(({ method, args }) => run(method, args)));
});
