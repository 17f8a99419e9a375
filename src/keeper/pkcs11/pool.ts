import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { audit, log } from '../log/index.js';
import { tokenOperations, tokenReopened, tokenSessions, tokenUp } from '../metrics/index.js';
import { PinRefused, TokenError } from './errors.js';
import { errorOf, type Failure, failureOf } from './failure.js';
import type { Writer } from './objects.js';
import { type Calls, type OperationName, operation } from './operations.js';
import type { Profile, TokenName } from './profile.js';
import { type Question, Witness } from './witness.js';
import type { Command } from './worker.js';

/** What a worker thread answers for each job of a message, in their order. */
export type Reply = {
  value?: unknown;
  failure?: Failure;
  /** the session is of no use any more */
  lost?: boolean;
  ms: number;
};
type Job = {
  method: OperationName;
  args: unknown[];
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
};

/** Jobs that one message brings to a session when many wait. */
const JOBS_A_MESSAGE = 8;

/** Waits between two attempts to log in again, milliseconds; the last one stays. */
const BACK_OFF = [200, 1000, 2000, 5000, 10_000, 30_000];
const END_TIMEOUT_MS = 5000;

const AWAY = 'the token is away';

/**
 * The token, seen from the event loop: every call runs on one of the profile's worker threads, each with a session
 * of its own, so that no slow token call stops the loop. With `spread` some sessions are on the standby tokens: they
 * evaluate; whatever touches objects is done on the first token alone.
 *
 * When a session dies, all are ended, the module is finalized, and the token logs in again by itself, ever more
 * slowly, until it succeeds or the PIN is refused. Calls fail meanwhile. Handles of objects are good until then.
 */
export class Token {
  readonly #profile: Profile;
  readonly #idle: Worker[] = [];
  readonly #workers = new Set<Worker>();
  readonly #running = new Map<Worker, { jobs: Job[]; since: number }>();
  readonly #commanded = new Map<Worker, Pick<Job, 'resolve' | 'reject'>>();
  readonly #queue: Job[] = [];
  /** jobs that only the first token can do; they go before the others */
  readonly #firstQueue: Job[] = [];
  /** those whose session is on a standby token */
  readonly #onStandby = new Set<Worker>();
  readonly #watch: NodeJS.Timeout;
  #scheduled: NodeJS.Immediate | undefined;
  #state: 'up' | 'away' | 'refused' | 'closed' = 'away';
  #epoch = 0;
  /** being opened anew: calls wait */
  #refreshing = false;
  /** evaluations since the module was initialized */
  #worn = 0;
  /** the one that is used now first */
  readonly #tokens: TokenName[];
  #reopening: Promise<void> = Promise.resolve();
  #objects: Promise<unknown> = Promise.resolve();
  /** the sessions being ended */
  #ending: { since: number; done: Promise<unknown> } | undefined;
  #onReopen: () => void = () => undefined;
  /** looks into the first token */
  #witness: Witness | undefined;
  #writeTrouble: string | undefined;
  readonly #closing = new AbortController();
  #hang: () => void = () => undefined;
  /** resolves when a call into the module does not come back: a thread in it cannot be ended, only the process can */
  readonly hung = new Promise<void>((resolve) => {
    this.#hang = resolve;
  });

  private constructor(profile: Profile) {
    this.#profile = profile;
    this.#tokens = [profile.token, ...profile.standby];
    this.#watch = setInterval(() => this.#look(), 1000).unref();
  }

  /** Opens the profile's sessions. @throws TokenError, ProfileError */
  static async open(profile: Profile): Promise<Token> {
    const token = new Token(profile);
    try {
      await token.#startAll();
    } catch (error) {
      await token.close();
      throw error;
    }
    return token;
  }

  /** `up`: logged in; `away`: being logged in again; `refused`: the PIN is not taken, and not tried again */
  get state(): 'up' | 'away' | 'refused' | 'closed' {
    return this.#state;
  }

  /** Whether it has done so much that the module should be opened anew by {@link refresh}: see `renewAfter`. */
  get worn(): boolean {
    const { renewAfter } = this.#profile;
    return renewAfter !== undefined && this.#worn >= renewAfter;
  }

  /** @param listener is called each time that the token has logged in again: handles from before are void */
  onReopen(listener: () => void): void {
    this.#onReopen = listener;
  }

  /** Why what was written last is not in the token; `undefined` when it is. */
  get writeTrouble(): string | undefined {
    return this.#writeTrouble;
  }

  /** Runs one operation on the next free session. @throws TokenError, InvalidPoint */
  call<M extends keyof Calls>(method: M, ...args: Parameters<Calls[M]>): Promise<ReturnType<Calls[M]>>;
  call(method: keyof Calls, ...args: unknown[]): Promise<unknown> {
    if (method === 'replaceData')
      return this.#alone(() => this.#replaceData(...(args as Parameters<Calls['replaceData']>)));
    const run = () => this.#run(method, ...(args as Parameters<Calls[typeof method]>));
    return operation(method).objects ? this.#alone(run) : run();
  }

  /** Runs what touches the token's objects while nothing else does. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#objects.then(work);
    this.#objects = mine.catch(() => undefined);
    return mine;
  }

  #run<M extends OperationName>(method: M, ...args: Parameters<Calls[M]>): Promise<ReturnType<Calls[M]>> {
    if (this.#state !== 'up' && !this.#refreshing) return Promise.reject(new TokenError(AWAY, 'BKV_AWAY'));
    return new Promise((resolve, reject) => {
      const job = { method, args, resolve: resolve as (value: unknown) => void, reject };
      // Many requests wait for one write of the ledger.
      (operation(method).objects ? this.#firstQueue : this.#queue).push(job);
      if (this.#idle.length > 0) this.#soon();
    });
  }

  async #replaceData(
    label: string,
    value: Uint8Array,
    superseded: readonly string[],
    writer?: Writer,
  ): Promise<string> {
    const handle = await this.#run('createData', label, value);
    await this.#confirm({ data: label, value }, () => this.#run('destroyData', handle));
    if (writer || superseded.length > 0) await this.#run('supersede', superseded, writer);
    return handle;
  }

  /** Believes the token only once the witness has seen it too. @param undo takes back what was not kept, if it can */
  async #confirm(question: Question, undo: () => Promise<unknown> = async () => undefined): Promise<void> {
    try {
      await (this.#witness as Witness).confirm(question);
      this.#writeTrouble = undefined;
    } catch (error) {
      this.#writeTrouble = (error as Error).message;
      await undo().catch(() => undefined);
      throw error;
    }
  }

  /** Makes a page's key and tells every session. @throws TokenError */
  generatePageKey(label: string): Promise<void> {
    return this.#alone(async () => {
      this.#tellAll(label, await this.#run('generatePageKey', label));
      const undo = async () => {
        await this.#run('destroySecretKey', label);
        this.#tellAll(label);
      };
      const data = Buffer.from(label);
      const mac = await this.#run('hmac', label, data).catch((error) =>
        undo().then(() => Promise.reject(error)),
      );
      await this.#confirm({ pageKey: label, data, mac }, undo);
    });
  }

  /** Destroys a page's key, and with it whatever rows it made. @throws TokenError */
  destroyPageKey(label: string): Promise<void> {
    return this.#alone(async () => {
      await this.#run('destroySecretKey', label);
      this.#tellAll(label);
      await this.#confirm({ noKey: label });
    });
  }

  /** Labels of the pages' keys in the token now, also those that another program made: every session is told of them. */
  async listPageKeys(prefix: string): Promise<string[]> {
    const keys = await this.call('listSecretKeys', prefix);
    for (const { label, handle } of keys) this.#tellAll(label, handle);
    return keys.map(({ label }) => label);
  }

  /** A standby token has handles of its own: its sessions look for the label. */
  #tellAll(label: string, handle?: string): void {
    for (const worker of this.#workers) {
      const command: Command = {
        do: 'learn',
        key: handle && !this.#onStandby.has(worker) ? [label, handle] : [label],
      };
      worker.postMessage(command);
    }
  }

  /** Ends every session and logs in again, to the profile's next token where it names several. */
  leave(reason: Error): void {
    // A full disk is not left by logging in again.
    if (this.#state !== 'up' || reasonOf(reason) === 'BKV_NOT_WRITTEN') return;
    this.#lost(reason);
    this.#tokens.push(this.#tokens.shift() as TokenName);
  }

  /**
   * Opens module and sessions anew; calls wait meanwhile. SoftHSM2 shows a process what others have written only until
   * it writes itself; after this, everything written before is seen. Handles of data objects are void.
   * @throws TokenError; the token then is looked for as after a loss
   */
  async refresh(): Promise<void> {
    if (this.#state !== 'up') throw new TokenError(AWAY, 'BKV_AWAY');
    this.#state = 'away';
    this.#refreshing = true;
    this.#idle.length = 0;
    try {
      // A thread ends its session after the calls that it was given.
      await this.#endAll();
      await this.#startAll();
      this.#next();
    } catch (error) {
      this.#fail(error as Error);
      this.#reopening = this.#reopen();
      throw error;
    } finally {
      this.#refreshing = false;
    }
  }

  /** Waits for the calls under way, then closes every session. */
  async close(): Promise<void> {
    this.#state = 'closed';
    this.#closing.abort();
    clearInterval(this.#watch);
    await this.#reopening;
    // What is under way is answered before a thread hears of its end.
    await this.#endAll().catch((error: Error) => log.error('token not closed', { reason: error.message }));
    await Promise.all([...this.#workers].map((worker) => worker.terminate()));
  }

  async #startAll(): Promise<void> {
    this.#epoch++;
    this.#worn = 0;
    while (this.#workers.size < this.#profile.sessions) this.#start();
    this.#onStandby.clear();
    const begin = (worker: Worker, token: TokenName, standbyFor?: Uint8Array) =>
      this.#command(worker, {
        do: 'begin',
        token,
        epoch: this.#epoch,
        ...(standbyFor && { standbyFor }),
      }) as Promise<Uint8Array>;
    const [first] = this.#tokens as [TokenName];
    let identity: Uint8Array | undefined;
    // One after the other: not every module survives two first logins at once.
    for (const [i, worker] of [...this.#workers].entries()) {
      const token = (this.#profile.spread && this.#tokens[i % this.#tokens.length]) || first;
      if (token !== first && (await this.#beginStandby(() => begin(worker, token, identity))))
        this.#onStandby.add(worker);
      else identity = await begin(worker, first);
    }
    if (this.#state !== 'away') return;
    this.#witness = new Witness({ ...this.#profile, token: first });
    this.#idle.push(...this.#workers);
    this.#state = 'up';
    tokenUp.set(1);
    tokenSessions.set({ state: 'open' }, this.#workers.size);
    tokenSessions.set({ state: 'standby' }, this.#onStandby.size);
  }

  /** Whether a session on a standby token could be begun. A PIN that it refuses is not tried again. */
  async #beginStandby(begin: () => Promise<unknown>): Promise<boolean> {
    try {
      await begin();
      return true;
    } catch (error) {
      if (error instanceof PinRefused) throw error;
      log.error('a standby token is not used', { reason: (error as Error).message });
      return false;
    }
  }

  #start(): void {
    const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: this.#profile });
    this.#workers.add(worker);
    worker.on('message', (message: Reply[] | Pick<Reply, 'value' | 'failure'>) => {
      if (Array.isArray(message)) return this.#settle(worker, message);
      const { resolve, reject } = this.#commanded.get(worker) as Job;
      this.#commanded.delete(worker);
      if (message.failure) reject(errorOf(message.failure));
      else resolve(message.value);
    });
    const gone = (error: Error) => {
      this.#workers.delete(worker);
      this.#commanded.get(worker)?.reject(error);
      this.#lost(error);
    };
    worker.on('error', (error) => gone(errorOf(failureOf(error))));
    worker.on('exit', () => gone(new TokenError('a token session ended', 'BKV_CLOSED')));
  }

  #command(worker: Worker, command: Command): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#commanded.set(worker, { resolve, reject });
      worker.postMessage(command);
    });
  }

  #settle(worker: Worker, replies: Reply[]): void {
    const running = this.#running.get(worker);
    if (!running) return;
    this.#running.delete(worker);
    if (this.#state === 'up') this.#idle.push(worker);
    let lost: Error | undefined;
    for (const [i, { value, failure, lost: gone, ms }] of replies.entries()) {
      const job = running.jobs[i] as Job;
      const { method, resolve, reject } = job;
      if (operation(method).wears) this.#worn++;
      if (failure?.reason === 'BKV_KEY' && this.#onStandby.has(worker)) {
        // The vendor has not copied the key yet.
        this.#firstQueue.push(job);
        continue;
      }
      tokenOperations.observe(
        { operation: method, mechanism: operation(method).mechanism, outcome: failure ? 'error' : 'ok' },
        ms / 1000,
      );
      if (!failure) {
        resolve(value);
        continue;
      }
      const error = errorOf(failure, `${method}: `);
      if (gone) lost = error;
      reject(error);
    }
    if (lost) this.#lost(lost);
    else this.#next();
  }

  #look(): void {
    if (this.#state === 'up' && this.#idle.length > 0) this.call('probe').catch(() => undefined);
    for (const { since } of this.#running.values())
      if (performance.now() - since > this.#profile.callTimeout * 1000)
        this.#lost(new TokenError('a call into the module hangs', 'BKV_HUNG'));
  }

  /** The sessions are of no use any more: what waits for them fails, and they are opened anew. */
  #lost(reason: Error): void {
    if (this.#state !== 'up') return;
    audit('token lost', { reason: reason.message }, 'error');
    this.#fail(reason);
    this.#reopening = this.#reopen();
  }

  #fail(reason: Error): void {
    this.#state = 'away';
    tokenUp.set(0);
    const waiting = [...this.#running.values()].flatMap(({ jobs }) => jobs);
    waiting.push(...this.#queue.splice(0), ...this.#firstQueue.splice(0));
    this.#running.clear();
    this.#idle.length = 0;
    for (const { reject } of waiting) reject(new TokenError(`${AWAY}: ${reason.message}`, 'BKV_AWAY'));
  }

  async #reopen(): Promise<void> {
    for (let attempt = 0; this.#state === 'away'; attempt++) {
      const { signal } = this.#closing;
      await setTimeout(BACK_OFF[Math.min(attempt, BACK_OFF.length - 1)], undefined, { signal }).catch(
        () => undefined,
      );
      try {
        await this.#endAll();
        if (this.#state !== 'away') return;
        await this.#startAll();
        tokenReopened.inc();
        audit('token found again');
        this.#onReopen();
      } catch (error) {
        this.#tokens.push(this.#tokens.shift() as TokenName);
        if (error instanceof PinRefused) this.#state = 'refused';
        log.error('token not found again', { reason: (error as Error).message });
      }
    }
  }

  /** Ends all sessions, then the module itself: many a network HSM is only found again after that. */
  async #endAll(): Promise<void> {
    this.#witness?.end();
    const workers = [...this.#workers];
    // A thread that did not end in time has been told already.
    this.#ending ??= {
      since: performance.now(),
      done: Promise.all(workers.map((worker) => this.#command(worker, { do: 'end' }))),
    };
    const { since, done } = this.#ending;
    const inTime = await Promise.race([
      done
        .then(() => true)
        .finally(() => {
          this.#ending = undefined;
        }),
      setTimeout(END_TIMEOUT_MS, false, { ref: false }),
    ]);
    if (!inTime) {
      if (this.#state === 'closed' || performance.now() - since > this.#profile.callTimeout * 1000)
        this.#hang();
      throw new TokenError('a call into the module does not come back', 'BKV_HUNG');
    }
    if (workers[0]) await this.#command(workers[0], { do: 'finalize' });
  }

  /** Sends what this turn of the event loop gathers: waking a thread costs as much as a short token call. */
  #soon(): void {
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = undefined;
      this.#next();
    });
  }

  #next(): void {
    for (let i = this.#idle.length - 1; i >= 0; i--) {
      const worker = this.#idle[i] as Worker;
      const first = this.#firstQueue.length > 0 && !this.#onStandby.has(worker);
      const queue = first ? this.#firstQueue : this.#queue;
      if (queue.length === 0) continue;
      this.#idle.splice(i, 1);
      const share = first ? 1 : Math.min(JOBS_A_MESSAGE, Math.ceil(queue.length / this.#workers.size));
      const jobs = queue.splice(0, share);
      this.#running.set(worker, { jobs, since: performance.now() });
      worker.postMessage(jobs.map(({ method, args }) => ({ method, args })));
    }
    tokenSessions.set({ state: 'busy' }, this.#running.size);
    tokenSessions.set({ state: 'waiting' }, this.#queue.length + this.#firstQueue.length);
  }
}

const reasonOf = (error: unknown): string | undefined =>
  error instanceof TokenError ? error.reason : undefined;
