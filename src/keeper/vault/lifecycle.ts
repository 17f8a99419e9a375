import { timingSafeEqual } from 'node:crypto';
import { backOff, Turn } from '../../process/index.js';
import { codeOf, type ErrorCode } from '../../protocol/terms.js';
import { InvalidInput } from '../elements/index.js';
import { CellClosed, type Ledger } from '../ledger/index.js';
import { log } from '../log/index.js';
import { KEY_LABELS, TokenError } from '../pkcs11/index.js';
import type { Token } from '../pool/index.js';
import { Answer, InvalidMessage, UnknownExchange, VaultUnavailable } from './errors.js';

/** Milliseconds before the token is read again; the last one repeats. */
const RETRY_MS = [500, 1000, 5000, 10_000, 30_000] as const;

const STOPPING = 'the vault is stopping';

/**
 * What keeps a vault answering: it knows which requests are under way, translates failures, reads the ledger again
 * after one, and has a worn token reopened between two requests.
 */
export class Lifecycle {
  readonly #token: Token;
  readonly #ledger: Ledger;
  readonly #serverPublicKey: Uint8Array;
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #closing = new AbortController();
  /** sweeps and renewals, one after the other */
  readonly #upkeep = new Turn();
  /** the token being reopened: requests wait for it */
  #renewing: Promise<void> | undefined;
  #renewalDue = false;
  #stopping = false;
  #reloading: NodeJS.Timeout | undefined;
  #retries = 0;
  #fence: () => void = () => undefined;
  /** resolves when another daemon has taken the token's ledger over */
  readonly fenced = new Promise<void>((resolve) => {
    this.#fence = resolve;
  });

  /** @param serverPublicKey the identity that a token must have when it comes back, 33 bytes */
  constructor(token: Token, ledger: Ledger, serverPublicKey: Uint8Array) {
    this.#token = token;
    this.#ledger = ledger;
    this.#serverPublicKey = serverPublicKey;
  }

  /** aborted when the vault closes */
  get signal(): AbortSignal {
    return this.#closing.signal;
  }

  /** Why no attempt could be counted now; `undefined` when one could. */
  get trouble(): string | undefined {
    if (this.#stopping) return STOPPING;
    if (this.#renewing) return undefined;
    if (this.#token.state === 'refused') return 'the token refuses the PIN';
    const { state, awayReason, writeTrouble } = this.#token;
    if (state !== 'up') return because('the token is away', awayReason);
    return this.#ledger.usable
      ? undefined
      : because('the retry counters cannot be written to the token', writeTrouble);
  }

  /** From now on the ledger is read again whenever the token has come back. */
  watch(): void {
    this.#token.onReopen(() => this.#reload(new TokenError('the token was lost', 'BKV_AWAY')));
  }

  async close(): Promise<void> {
    this.#closing.abort(new VaultUnavailable('the vault is closing'));
    await this.#upkeep.ended();
    clearTimeout(this.#reloading);
    this.#token.onReopen(() => undefined);
  }

  /** From now on no exchange begins. */
  stop(): void {
    this.#stopping = true;
  }

  /** The {@link request} that begins an exchange. @throws VaultUnavailable once the vault is stopping */
  first<T>(work: () => Promise<T>): Promise<T> {
    return this.request(async () => {
      if (this.#stopping) throw new VaultUnavailable(`${STOPPING}; nothing is lost, try again`);
      return work();
    });
  }

  /** Runs a request's work, which counts as under way until it ends. */
  async request<T>(work: () => Promise<T>): Promise<T> {
    while (this.#renewing) await this.#renewing;
    const done = this.#translated(work);
    this.#underWay.add(done);
    try {
      return await done;
    } finally {
      this.#underWay.delete(done);
      if (this.#token.worn) this.#renew();
    }
  }

  /** A {@link request} that tells what was decided: answer and refusal leave once the token holds that. */
  durably<T>(work: () => Promise<T>): Promise<T> {
    return this.request(async () => {
      const { reading } = this.#ledger;
      try {
        return await work();
      } finally {
        await this.#ledger.durable(reading);
      }
    });
  }

  /** Runs upkeep, one at a time. */
  upkeep(work: () => Promise<void>): Promise<void> {
    return this.#upkeep.take(() => this.#translated(work));
  }

  /** Resolves when the requests that are under way now have ended. */
  settled(): Promise<unknown> {
    return Promise.allSettled(this.#underWay);
  }

  /** Turns failures of token, ledger and database into {@link VaultUnavailable}. Any other error is a fault of this program, and stays one. */
  async #translated<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof Answer) throw error;
      if (error instanceof InvalidInput) throw new InvalidMessage(error.message);
      if (error instanceof CellClosed)
        throw new UnknownExchange('the account changed meanwhile; start again');
      this.#failed(error as Error);
      throw OUTSIDE.has(codeOf(error))
        ? new VaultUnavailable('the vault cannot answer now', { cause: error })
        : error;
    }
  }

  /** Has the token reopened between two requests, not during other upkeep. */
  #renew(): void {
    if (this.#renewalDue || this.#closing.signal.aborted) return;
    this.#renewalDue = true;
    void this.#upkeep.take(async () => {
      this.#renewing = this.settled().then(() => this.#reload(new TokenError('it is reopened', 'BKV_AWAY')));
      await this.#renewing;
      this.#renewing = undefined;
      this.#renewalDue = false;
      log.info('token reopened');
    });
  }

  #failed(error: Error): void {
    const cause = error.cause instanceof Error ? error.cause.message : undefined;
    log.error('vault failure', { error: error.name, reason: error.message, ...(cause && { cause }) });
    if (this.#ledger.fenced) this.#fence();
    // A token that is away reports when it is back.
    else if (!this.#ledger.usable && this.#token.state === 'up' && !this.#closing.signal.aborted)
      this.#reloading ??= setTimeout(() => this.#reload(), backOff(RETRY_MS, this.#retries++)).unref();
  }

  /** Never rejects: it is tried again later. */
  async #reload(reason?: Error): Promise<void> {
    clearTimeout(this.#reloading);
    this.#reloading = undefined;
    try {
      await this.#ledger.reload(reason);
      const publicKey = await this.#token.call('publicKey', KEY_LABELS.static);
      if (!timingSafeEqual(publicKey, this.#serverPublicKey))
        throw new TokenError('the token that came back is another one', 'BKV_TOKEN');
      this.#retries = 0;
    } catch (error) {
      this.#token.leave(error as Error);
      this.#failed(error as Error);
    }
  }
}

/** Failures of token, ledger and database: nothing is lost by trying again. */
const OUTSIDE: ReadonlySet<ErrorCode> = new Set([
  'token-failed',
  'pin-refused',
  'database-failed',
  'unavailable',
]);

const because = (trouble: string, reason: string | undefined): string =>
  reason ? `${trouble} (${reason})` : trouble;
