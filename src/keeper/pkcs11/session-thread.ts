import { parentPort, workerData } from 'node:worker_threads';
import { finalize, loadModule } from './binding.js';
import { TokenError } from './errors.js';
import { type Failure, failureOf, isOfToken } from './failure.js';
import { KEY_LABELS } from './labels.js';
import type { Lent } from './objects.js';
import type { OperationName } from './operations.js';
import type { Profile, TokenName } from './profile.js';
import { type Exposure, Session } from './session.js';

/** One operation of a message. */
export interface Call {
  readonly method: OperationName;
  readonly args: unknown[];
}

/** What the thread answers for each call of a message, in their order. */
export interface Reply {
  readonly value?: unknown;
  readonly failure?: Failure;
  /** the session can no longer be used */
  readonly lost?: boolean;
  readonly ms: number;
}

/** What it answers to a command. */
export type Obeyed = Pick<Reply, 'value' | 'failure'>;

/** What it answers to the command to begin. */
export interface Begun {
  /** the token's, 33 bytes */
  readonly identity: Uint8Array;
  readonly exposure: Exposure;
  /** labels of objects that others put into the token */
  readonly strange: readonly string[];
}

/** What the thread is told to do with its session, besides its calls. */
export type Command =
  /** answers with {@link Begun}; `standbyFor` is the identity that a standby token must have */
  | { do: 'begin'; token: TokenName; epoch: number; standbyFor?: Uint8Array }
  /** ends the session; the last of all threads then finalizes the module for the whole process */
  | { do: 'end' }
  | { do: 'finalize' }
  /**
   * answers with an object for {@link Session.borrows} of another session; `undefined` if the module cannot
   * make one
   */
  | { do: 'lend' }
  | { do: 'borrow'; lent: Lent }
  | { do: 'learn'; key: Parameters<Session['learn']> };

const port = parentPort;
if (!port) throw new Error('session-thread.ts runs on a worker thread');

const { profile, calls } = workerData as { profile: Profile; calls: Int32Array };
const module = loadModule(profile, () => Atomics.add(calls, 0, 1));
let session: Session | undefined;

function run({ method, args }: Call): Reply {
  const start = performance.now();
  try {
    if (!session) throw new TokenError('the session has ended', 'BKV_CLOSED');
    const called = session;
    const value = (called[method] as (...args: unknown[]) => unknown).apply(called, args);
    return { value, ms: performance.now() - start };
  } catch (error) {
    const failure = failureOf(error);
    // After its device went away, a module may give any reason for the first failure. So the session itself
    // is asked.
    const lost = isOfToken(failure) && (failure.stale || !session?.alive);
    return { failure, lost, ms: performance.now() - start };
  }
}

function begin({ token, epoch, standbyFor }: Extract<Command, { do: 'begin' }>): Begun {
  end();
  session = new Session({ ...profile, token }, { epoch, module });
  const identity = session.publicKey(KEY_LABELS.static);
  const { exposure, strange } = session;
  if (!standbyFor || Buffer.from(identity).equals(standbyFor)) {
    session.probe(true);
    return { identity, exposure, strange };
  }
  end();
  throw new TokenError(
    `the token ${token.label ?? token.serial} has other keys than the first one`,
    'BKV_TOKEN',
  );
}

function end(): void {
  const ended = session;
  session = undefined;
  ended?.close();
}

function obey(command: Command): unknown {
  if (command.do === 'begin') return begin(command);
  if (command.do === 'lend') return session?.lend();
  if (command.do === 'borrow') return session?.borrows(command.lent);
  if (command.do === 'end') end();
  else if (command.do === 'finalize') finalize(module);
  else session?.learn(...command.key);
  return undefined;
}

/** The memory of an answer's bytes is handed over, so that no copy of a secret stays on this thread. */
function ownBuffers(value: unknown): ArrayBuffer[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [];
  const bytes = value instanceof Uint8Array ? [value] : Object.values(value);
  return bytes.flatMap((one) =>
    one instanceof Uint8Array && one.length === one.buffer.byteLength ? [one.buffer as ArrayBuffer] : [],
  );
}

port.on('message', (message: Call[] | Command) => {
  if (Array.isArray(message)) {
    const replies = message.map(run);
    return port.postMessage(
      replies,
      replies.flatMap(({ value }) => ownBuffers(value)),
    );
  }
  try {
    const value = obey(message);
    if (message.do !== 'learn') port.postMessage({ value });
  } catch (error) {
    port.postMessage({ failure: failureOf(error) });
  }
});
