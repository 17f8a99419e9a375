import { Worker } from 'node:worker_threads';
import { Turn } from '../../process/index.js';
import {
  type Call,
  type Command,
  errorOf,
  failureOf,
  type Obeyed,
  type Profile,
  type Reply,
  TokenError,
} from '../pkcs11/index.js';

/** A call, and who waits for it. */
export interface Job extends Call {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export interface ThreadListener {
  /** the jobs of a message were done, in this order */
  onReplies(thread: Thread, replies: Reply[]): void;
  /** the thread has ended; what it was running and still runs afterwards fails */
  onGone(thread: Thread, error: Error): void;
}

const PROGRAM = new URL('../pkcs11/session-thread.js', import.meta.url);

/** One session of the token, on a thread of its own. */
export class Thread {
  /** whether the session is on a standby token */
  onStandby = false;
  /** whether object handles that the writing sessions got are valid in this one, so that it may write too */
  sharesHandles = false;
  /** calls in a row that failed */
  failures = 0;
  /** the jobs that the thread was given */
  running: readonly Job[] | undefined;
  readonly #worker: Worker;
  /** counts the calls into the module that the thread has begun */
  readonly #calls = new Int32Array(new SharedArrayBuffer(4));
  #seen = { calls: 0, at: performance.now() };
  #commanded: Pick<Job, 'resolve' | 'reject'> | undefined;
  readonly #turn = new Turn();
  #gone: Error | undefined;

  constructor(profile: Profile, { onReplies, onGone }: ThreadListener) {
    this.#worker = new Worker(PROGRAM, { workerData: { profile, calls: this.#calls } });
    this.#worker.on('message', (message: Reply[] | Obeyed) => {
      if (Array.isArray(message)) onReplies(this, message);
      else this.#answered(message);
    });
    const gone = (error: Error) => {
      if (this.#gone) return;
      this.#gone = error;
      this.#commanded?.reject(error);
      onGone(this, error);
      for (const { reject } of this.running ?? []) reject(error);
      this.running = undefined;
    };
    this.#worker.on('error', (error) => gone(errorOf(failureOf(error))));
    this.#worker.on('exit', () => gone(new TokenError('a token session ended', 'BKV_CLOSED')));
  }

  /** Milliseconds for which a call into the module has not returned, as far as was seen. */
  waited(): number {
    const calls = Atomics.load(this.#calls, 0);
    const idle = !this.running && !this.#commanded;
    if (idle || calls !== this.#seen.calls) this.#seen = { calls, at: performance.now() };
    return performance.now() - this.#seen.at;
  }

  run(jobs: readonly Job[]): void {
    this.running = jobs;
    this.#worker.postMessage(jobs.map(({ method, args }) => ({ method, args: args.map(ownBytes) })));
  }

  /** Tells the session about a page's key. If handles are not shared, it looks for the label. */
  learn(label: string, handle?: string): void {
    this.#post({ do: 'learn', key: handle && this.sharesHandles ? [label, handle] : [label] });
  }

  /** Has the thread do something with its session, after what it was given before. */
  command(command: Command): Promise<unknown> {
    return this.#turn.take(
      () =>
        new Promise((resolve, reject) => {
          if (this.#gone) return reject(this.#gone);
          this.#commanded = { resolve, reject };
          this.#post(command);
        }),
    );
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }

  #post(command: Command): void {
    this.#worker.postMessage(command);
  }

  #answered({ value, failure }: Obeyed): void {
    const commanded = this.#commanded;
    this.#commanded = undefined;
    if (failure) commanded?.reject(errorOf(failure));
    else commanded?.resolve(value);
  }
}

/**
 * A view that is posted takes its whole buffer along. For one in the pool that Buffers share, that is what
 * was read and written for others.
 */
function ownBytes(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Uint8Array)
    return value.length === value.buffer.byteLength ? value : new Uint8Array(value);
  if (Array.isArray(value)) return value.map(ownBytes);
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, ownBytes(one)]));
}
