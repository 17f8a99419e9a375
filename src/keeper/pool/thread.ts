import { Worker } from 'node:worker_threads';
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
  /** the thread has ended */
  onGone(thread: Thread, error: Error): void;
}

const PROGRAM = new URL('../pkcs11/session-thread.js', import.meta.url);

/** One session of the token, on a thread of its own. */
export class Thread {
  /** whether the session is on a standby token */
  onStandby = false;
  /** the jobs that the thread was given, and when (`performance.now()`) */
  running: { readonly jobs: readonly Job[]; readonly since: number } | undefined;
  readonly #worker: Worker;
  #commanded: Pick<Job, 'resolve' | 'reject'> | undefined;

  constructor(profile: Profile, { onReplies, onGone }: ThreadListener) {
    this.#worker = new Worker(PROGRAM, { workerData: profile });
    this.#worker.on('message', (message: Reply[] | Obeyed) => {
      if (Array.isArray(message)) onReplies(this, message);
      else this.#answered(message);
    });
    const gone = (error: Error) => {
      this.#commanded?.reject(error);
      onGone(this, error);
    };
    this.#worker.on('error', (error) => gone(errorOf(failureOf(error))));
    this.#worker.on('exit', () => gone(new TokenError('a token session ended', 'BKV_CLOSED')));
  }

  run(jobs: readonly Job[]): void {
    this.running = { jobs, since: performance.now() };
    this.#worker.postMessage(jobs.map(({ method, args }) => ({ method, args })));
  }

  /** Tells the session of a page's key. A standby token has handles of its own: its sessions look for the label. */
  learn(label: string, handle?: string): void {
    this.#post({ do: 'learn', key: handle && !this.onStandby ? [label, handle] : [label] });
  }

  /** Has the thread do something with its session, after what it was given before. One at a time. */
  command(command: Command): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#commanded = { resolve, reject };
      this.#post(command);
    });
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
