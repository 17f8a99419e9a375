import { type Calls, type OperationName, operation, type PageKey, type Profile } from '../pkcs11/index.js';
import { Lifecycle } from './lifecycle.js';
import type { Token } from './token.js';
import { DurableWrites, type Run } from './writes.js';

/**
 * The token, seen from the event loop: every call runs on one of the profile's sessions, each on a thread of its own, so
 * that no slow token call stops the loop.
 */
export class TokenPool implements Token {
  readonly #lifecycle: Lifecycle;
  readonly #writes: DurableWrites;
  readonly #renewAfter: number;

  /** @param onHang is called when a call into the module does not return: only ending the process helps */
  constructor(profile: Profile, onHang: () => void = endProcess) {
    this.#renewAfter = profile.renewAfter ?? Number.POSITIVE_INFINITY;
    const run = ((method, ...args) => this.#run(method, args)) as Run;
    this.#writes = new DurableWrites(run, (label, handle) => this.#lifecycle.sessions.learn(label, handle));
    this.#lifecycle = new Lifecycle(
      profile,
      () => this.#writes.lookInto(this.#lifecycle.sessions.profile),
      () => this.#writes.witness?.end(),
      onHang,
    );
  }

  /** Makes a pool and opens it; closes it if that fails. */
  static async open(profile: Profile): Promise<TokenPool> {
    const pool = new TokenPool(profile);
    try {
      await pool.open();
    } catch (error) {
      await pool.close();
      throw error;
    }
    return pool;
  }

  /** Opens the profile's sessions. @throws TokenError, ProfileError */
  open(): Promise<void> {
    return this.#lifecycle.open();
  }

  get state(): Token['state'] {
    return this.#lifecycle.state;
  }

  get awayReason(): string | undefined {
    return this.#lifecycle.awayReason;
  }

  get worn(): boolean {
    return this.#lifecycle.scheduler.worn >= this.#renewAfter;
  }

  /** Whether object handles that one session got are valid in all sessions. */
  get sharesHandles(): boolean {
    return [...this.#lifecycle.sessions.threads].every(({ sharesHandles }) => sharesHandles);
  }

  get writeTrouble(): string | undefined {
    return this.#writes.trouble;
  }

  call<M extends keyof Calls>(method: M, ...args: Parameters<Calls[M]>): Promise<ReturnType<Calls[M]>>;
  call(method: keyof Calls, ...args: unknown[]): Promise<unknown> {
    if (method === 'replaceData')
      return this.#writes.replaceData(...(args as Parameters<Calls['replaceData']>));
    const run = () => this.#run(method, args);
    return operation(method).objects ? this.#writes.alone(run) : run();
  }

  generatePageKey(label: string): Promise<void> {
    return this.#writes.generatePageKey(label);
  }

  destroyPageKey(label: string): Promise<void> {
    return this.#writes.destroyPageKey(label);
  }

  listPageKeys(prefix: string): Promise<PageKey[]> {
    return this.#writes.listPageKeys(prefix);
  }

  onReopen(listener: () => void): void {
    this.#lifecycle.onReopen(listener);
  }

  leave(reason: Error): void {
    this.#lifecycle.leave(reason);
  }

  refresh(): Promise<void> {
    return this.#lifecycle.refresh();
  }

  /** Waits for the calls under way, then closes every session. */
  close(): Promise<void> {
    return this.#lifecycle.close();
  }

  async #run(method: OperationName, args: unknown[]): Promise<unknown> {
    this.#lifecycle.assertCallable();
    return new Promise((resolve, reject) => this.#lifecycle.scheduler.add({ method, args, resolve, reject }));
  }
}

/** A thread that hangs in the module keeps this process from ending, and another keeper from taking over. */
const endProcess = () => process.kill(process.pid, 'SIGKILL');
