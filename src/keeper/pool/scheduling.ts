import { tokenOperations, tokenSessions } from '../metrics/index.js';
import { errorOf, isOfToken, operation, type Reply, type TokenReason } from '../pkcs11/index.js';
import type { Job, Thread } from './thread.js';

/** Most jobs that one message brings to a session when many wait. */
const JOBS_A_MESSAGE = 8;
/**
 * After this many failed calls in a row a session counts as sick, even if its own trials between them
 * succeed.
 */
const FAILURES = 3;
/** Failures that say nothing against a session. */
const OF_THE_TOKEN: ReadonlySet<TokenReason | undefined> = new Set(['BKV_KEY', 'BKV_FENCED', 'BKV_STALE']);

const probe = (thorough: boolean): Job => ({
  method: 'probe',
  args: [thorough],
  resolve: () => undefined,
  reject: () => undefined,
});

export interface SchedulerListener {
  /** a session can no longer be used, and so none can */
  onLost(error: Error): void;
  /** a session fails again and again; it gets nothing more until {@link Scheduler.admit} */
  onSick(thread: Thread, error: Error): void;
}

/** Which job runs on which session, and when. */
export class Scheduler {
  readonly #idle: Thread[] = [];
  readonly #queue: Job[] = [];
  /** jobs that only the first token can do; they go before the others */
  readonly #firstQueue: Job[] = [];
  readonly #listener: SchedulerListener;
  #threads: ReadonlySet<Thread> = new Set();
  #scheduled: NodeJS.Immediate | undefined;
  #worn = 0;

  constructor(listener: SchedulerListener) {
    this.#listener = listener;
  }

  /** evaluations since the sessions were opened */
  get worn(): number {
    return this.#worn;
  }

  add(job: Job): void {
    // Many requests wait for one write of the ledger.
    (operation(job.method).objects ? this.#firstQueue : this.#queue).push(job);
    if (this.#idle.length > 0) this.#soon();
  }

  /** Sessions were opened: jobs go to them from now on. */
  begin(threads: ReadonlySet<Thread>): void {
    this.#threads = threads;
    this.#worn = 0;
    this.#idle.push(...threads);
    this.#tellTokens();
    this.#next();
  }

  /** Has the session that was idle longest try itself. @param thorough whether by evaluating */
  probe(thorough: boolean): void {
    this.#idle.shift()?.run([probe(thorough)]);
  }

  /** A session that was sick is a good one again. */
  admit(thread: Thread): void {
    this.#idle.push(thread);
    this.#tellTokens();
    this.#next();
  }

  /** Gives out no more jobs: they wait. What was given out is answered. */
  pause(): void {
    this.#threads = new Set();
    this.#idle.length = 0;
  }

  /** As {@link pause}, and waiting jobs fail with the reason. */
  fail(threads: Iterable<Thread>, error: Error): void {
    this.pause();
    const given = [...threads].flatMap((thread) => {
      const jobs = thread.running ?? [];
      thread.running = undefined;
      return jobs;
    });
    for (const { reject } of [...given, ...this.#queue.splice(0), ...this.#firstQueue.splice(0)])
      reject(error);
  }

  /** A thread has done what it was given. */
  settle(thread: Thread, replies: readonly Reply[]): void {
    const { running } = thread;
    // The caller has been told already that the session is lost.
    if (!running) return;
    thread.running = undefined;
    let lost: Error | undefined;
    let failed: Error | undefined;
    for (const [i, reply] of replies.entries()) {
      const error = this.#settleOne(thread, running[i] as Job, reply);
      if (reply.lost) lost = error;
      if (reply.failure?.code === 'token-failed' && !OF_THE_TOKEN.has(reply.failure.reason)) failed = error;
    }
    if (this.#threads.has(thread)) this.#giveNext(thread, running[0] as Job, failed);
    if (lost) this.#listener.onLost(lost);
    else this.#next();
  }

  #tellTokens(): void {
    tokenSessions.set({ state: 'open' }, this.#threads.size);
    const standby = [...this.#threads].filter(({ onStandby }) => onStandby);
    tokenSessions.set({ state: 'standby' }, standby.length);
  }

  /** A session whose call failed tries itself before it gets another one. */
  #giveNext(thread: Thread, { method }: Job, failed: Error | undefined): void {
    const isProbe = method === 'probe';
    if (!isProbe) thread.failures = failed ? thread.failures + 1 : 0;
    if (!failed) this.#idle.push(thread);
    else if (isProbe || thread.failures >= FAILURES) this.#listener.onSick(thread, failed);
    else thread.run([probe(true)]);
  }

  #settleOne(thread: Thread, job: Job, { value, failure, ms }: Reply): Error | undefined {
    const { method } = job;
    const { mechanism, wears } = operation(method);
    if (wears) this.#worn++;
    if (failure?.reason === 'BKV_KEY' && thread.onStandby) {
      // The vendor has not copied the key yet.
      this.#firstQueue.push(job);
      return undefined;
    }
    const outcome = failure && isOfToken(failure) ? 'error' : 'ok';
    tokenOperations.observe({ operation: method, mechanism, outcome }, ms / 1000);
    if (!failure) {
      job.resolve(value);
      return undefined;
    }
    const error = errorOf(failure, `${method}: `);
    job.reject(error);
    return error;
  }

  /**
   * Sends all jobs of this turn of the event loop together, because waking a thread costs as much as a short
   * token call.
   */
  #soon(): void {
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = undefined;
      this.#next();
    });
  }

  #next(): void {
    for (let i = this.#idle.length - 1; i >= 0; i--) {
      const thread = this.#idle[i] as Thread;
      const first = this.#firstQueue.length > 0 && thread.sharesHandles;
      const queue = first ? this.#firstQueue : this.#queue;
      if (queue.length === 0) continue;
      this.#idle.splice(i, 1);
      const share = first ? 1 : Math.min(JOBS_A_MESSAGE, Math.ceil(queue.length / this.#threads.size));
      thread.run(queue.splice(0, share));
    }
    const busy = [...this.#threads].filter(({ running }) => running).length;
    tokenSessions.set({ state: 'busy' }, busy);
    tokenSessions.set({ state: 'waiting' }, this.#queue.length + this.#firstQueue.length);
  }
}
