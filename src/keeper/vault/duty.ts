import { setTimeout } from 'node:timers/promises';
import { CodedError, codeOf, ERRORS } from '../../protocol/terms.js';
import { audit, log } from '../log/index.js';
import { onDuty } from '../metrics/index.js';
import type { TakeDutyLock } from '../records/index.js';
import { VaultUnavailable } from './errors.js';
import type { Vault } from './vault.js';

/** Another daemon that works with another database has taken this daemon's token. */
export class TokenShared extends CodedError {
  constructor() {
    super(
      'token-shared',
      'another vault, on another database, has taken this token: each vault needs a token of its own',
    );
  }
}

export interface DutyOptions {
  readonly takeLock: TakeDutyLock;
  readonly open: () => Promise<{ vault: Vault; close(): Promise<void> }>;
}

const RETRY_MS = 1000;

/**
 * If several daemons share one database and token, one is on duty: it opens the vault and answers. The others
 * stand by, and one takes over when it ends.
 */
export class Duty {
  readonly #options: DutyOptions;
  readonly #closing = new AbortController();
  #vault: Vault | undefined;
  #started: (() => void) | undefined;
  #ended: Promise<void> | undefined;

  constructor(options: DutyOptions) {
    this.#options = options;
  }

  /**
   * Resolves once this daemon is on duty, or knows that it stands by.
   * @throws what kept the vault from being opened
   */
  start(): Promise<void> {
    const started = new Promise<void>((resolve) => {
      this.#started = resolve;
    });
    this.#ended = this.#run();
    return Promise.race([started, this.#ended]);
  }

  /** Rejects when this daemon must not go on. */
  get ended(): Promise<void> {
    return this.#ended as Promise<void>;
  }

  /** @throws VaultUnavailable while this daemon stands by */
  get vault(): Vault {
    if (!this.#vault) throw new VaultUnavailable('this daemon stands by');
    return this.#vault;
  }

  /** Why no request can be answered now; `undefined` when one can. */
  get trouble(): string | undefined {
    return this.#vault ? this.#vault.trouble : 'standing by';
  }

  /** As {@link Vault.drain}, if this daemon is on duty. */
  async drain(hurry: AbortSignal): Promise<void> {
    await this.#vault?.drain(hurry);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#ended?.catch(() => undefined);
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    while (!signal.aborted) {
      const lock = await this.#options
        .takeLock(signal, () => this.#begun())
        .catch((error) => {
          if (!signal.aborted) throw error;
        });
      if (!lock) return;
      try {
        const { vault, close } = await this.#options.open();
        this.#vault = vault;
        onDuty.set(1);
        audit('on duty');
        this.#begun();
        const fenced = vault.fenced.then(() => true);
        const shared = await Promise.race([fenced, lock.lost, aborted]);
        this.#vault = undefined;
        onDuty.set(0);
        audit('off duty');
        await close();
        if (shared && (await lock.held())) throw new TokenShared();
      } catch (error) {
        const { name, message } = error as Error;
        if (this.#started || ERRORS[codeOf(error)].fatal) throw error;
        log.error('could not go on duty', { error: name, reason: message });
      } finally {
        await lock.release().catch(() => undefined);
      }
      if (!signal.aborted) await setTimeout(RETRY_MS);
    }
  }

  #begun(): void {
    this.#started?.();
    this.#started = undefined;
  }
}
