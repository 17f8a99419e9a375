import { parentPort, workerData } from 'node:worker_threads';
import type { Profile } from './profile.js';
import { Session } from './session.js';

const port = parentPort;
if (!port) throw new Error('worker.ts runs on a worker thread');

const session = new Session(workerData as Profile);
port.postMessage('ready');

port.on('message', ({ id, method, args }: { id: number; method: keyof Session; args: unknown[] }) => {
  if (method === 'close') {
    session.close();
    port.close();
    return;
  }
  if (method === 'learn') {
    session.learn(...(args as Parameters<Session['learn']>));
    return;
  }
  const start = performance.now();
  try {
    const value = (session[method] as (...args: unknown[]) => unknown).apply(session, args);
    port.postMessage({ id, value, ms: performance.now() - start });
  } catch (error) {
    const { name, message, code } = error as Error & { code?: unknown };
    port.postMessage({ id, error: { name, message, code }, ms: performance.now() - start });
  }
});
