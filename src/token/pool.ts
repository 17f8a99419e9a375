import { Worker } from 'node:worker_threads';
import { tokenOperations, tokenSessions } from '../metrics/index.js';
import { InvalidPoint, TokenError } from './errors.js';
import type { Profile } from './profile.js';
import type { Session } from './session.js';

type Method = Exclude<keyof Session, 'close' | 'learn'>;
/** What a worker thread answers for each job of a message, in their order. */
export type Reply = {
  value?: unknown;
  error?: { name: string; message: string; code?: unknown };
  ms: number;
};
type Job = {
  method: Method;
  args: unknown[];
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
};

/** The mechanism that an operation's time goes to. */
const MECHANISM: Record<Method, string> = {
  login: 'CKM_ECDH1_DERIVE',
  multiply: 'CKM_ECDH1_DERIVE',
  generateWrapped: 'CKM_EC_KEY_PAIR_GEN',
  importWrapped: 'CKM_RSA_PKCS_OAEP',
  rewrap: 'CKM_AES_KEY_WRAP_PAD',
  hmac: 'CKM_SHA256_HMAC',
  generateWrappingKey: 'CKM_AES_KEY_GEN',
  publicKey: 'none',
  transportPublicKey: 'none',
  listSecretKeys: 'none',
  destroySecretKey: 'none',
  replaceData: 'none',
  destroyData: 'none',
  listData: 'none',
};

/** Jobs that one message brings to a session when many wait. */
const JOBS_A_MESSAGE = 8;

/**
 * The token, seen from the event loop: every call runs on one of the profile's worker threads, each with a session
 * of its own, so that no slow token call stops the loop.
 */
export class Token {
  readonly #idle: Worker[] = [];
  readonly #workers = new Set<Worker>();
  readonly #running = new Map<Worker, Job[]>();
  readonly #queue: Job[] = [];
  #scheduled: NodeJS.Immediate | undefined;
  #closed = false;

  private constructor() {}

  /** Opens the profile's sessions. @throws TokenError, ProfileError */
  static async open(profile: Profile): Promise<Token> {
    const token = new Token();
    // One after the other: not every module survives two first logins at once.
    try {
      for (let i = 0; i < profile.sessions; i++) await token.#start(profile);
    } catch (error) {
      await token.close();
      throw error;
    }
    return token;
  }

  /** Runs one method of {@link Session} on the next free session. @throws TokenError, InvalidPoint */
  call<M extends Method>(method: M, ...args: Parameters<Session[M]>): Promise<ReturnType<Session[M]>> {
    if (this.#closed) return Promise.reject(new TokenError('the token is closed', 'BKV_CLOSED'));
    return new Promise((resolve, reject) => {
      const job = { method, args, resolve: resolve as (value: unknown) => void, reject };
      // Many requests wait for one write of the ledger: it goes first.
      if (method === 'replaceData') this.#queue.unshift(job);
      else this.#queue.push(job);
      if (this.#idle.length > 0) this.#soon();
    });
  }

  /** Makes a wrapping key and tells every session. @throws TokenError */
  async generateWrappingKey(label: string): Promise<void> {
    this.#tellAll(label, await this.call('generateWrappingKey', label));
  }

  /** Destroys a wrapping key, and with it all that it wrapped. @throws TokenError */
  async destroyWrappingKey(label: string): Promise<void> {
    await this.call('destroySecretKey', label);
    this.#tellAll(label);
  }

  /** Labels of the wrapping keys in the token now, also those that another program made: every session is told of them. */
  async listWrappingKeys(prefix: string): Promise<string[]> {
    const keys = await this.call('listSecretKeys', prefix);
    for (const { label, handle } of keys) this.#tellAll(label, handle);
    return keys.map(({ label }) => label);
  }

  #tellAll(label: string, handle?: string): void {
    for (const worker of this.#workers) worker.postMessage({ learn: [label, handle] });
  }

  /** Waits for the calls under way, then closes every session. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(
      [...this.#workers].map(
        (worker) =>
          new Promise<void>((done) => {
            worker.once('exit', () => done());
            worker.postMessage('close');
          }),
      ),
    );
  }

  async #start(profile: Profile): Promise<void> {
    const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: profile });
    await new Promise<void>((resolve, reject) => {
      worker.once('error', (error) => reject(toError(error as Error)));
      worker.once('message', () => resolve());
    });
    worker.removeAllListeners('error');
    worker.on('error', (error) => this.#drop(worker, toError(error as Error)));
    worker.on('exit', () => this.#drop(worker, new TokenError('a token session ended', 'BKV_CLOSED')));
    worker.on('message', (replies: Reply[]) => this.#settle(worker, replies));
    this.#workers.add(worker);
    this.#idle.push(worker);
    tokenSessions.set({ state: 'open' }, this.#workers.size);
  }

  #settle(worker: Worker, replies: Reply[]): void {
    const jobs = this.#running.get(worker) as Job[];
    this.#running.delete(worker);
    this.#idle.push(worker);
    for (const [i, { value, error, ms }] of replies.entries()) {
      const { method, resolve, reject } = jobs[i] as Job;
      tokenOperations.observe(
        { operation: method, mechanism: MECHANISM[method], outcome: error ? 'error' : 'ok' },
        ms / 1000,
      );
      if (error) reject(toError({ ...error, message: `${method}: ${error.message}` }));
      else resolve(value);
    }
    this.#next();
  }

  #drop(worker: Worker, error: Error): void {
    this.#workers.delete(worker);
    const at = this.#idle.indexOf(worker);
    if (at >= 0) this.#idle.splice(at, 1);
    for (const { reject } of this.#running.get(worker) ?? []) reject(error);
    this.#running.delete(worker);
    tokenSessions.set({ state: 'open' }, this.#workers.size);
    if (this.#workers.size === 0) for (const job of this.#queue.splice(0)) job.reject(error);
  }

  /** Sends what this turn of the event loop gathers: waking a thread costs as much as a short token call. */
  #soon(): void {
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = undefined;
      this.#next();
    });
  }

  #next(): void {
    if (this.#workers.size === 0) {
      for (const job of this.#queue.splice(0))
        job.reject(new TokenError('no token session is open', 'BKV_CLOSED'));
      return;
    }
    while (this.#idle.length > 0 && this.#queue.length > 0) {
      const worker = this.#idle.pop() as Worker;
      const share =
        this.#queue[0]?.method === 'replaceData'
          ? 1
          : Math.min(JOBS_A_MESSAGE, Math.ceil(this.#queue.length / this.#workers.size));
      const jobs = this.#queue.splice(0, share);
      this.#running.set(worker, jobs);
      worker.postMessage(jobs.map(({ method, args }) => ({ method, args })));
    }
    tokenSessions.set({ state: 'busy' }, this.#running.size);
    tokenSessions.set({ state: 'waiting' }, this.#queue.length);
  }
}

function toError({ name, message, code }: { name: string; message: string; code?: unknown }): Error {
  if (name === 'InvalidPoint') return new InvalidPoint(message);
  return new TokenError(
    message,
    name === 'TokenError' || name === 'ProfileError' ? String(code ?? name) : message,
  );
}
