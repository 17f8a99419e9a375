import { randomBytes } from 'node:crypto';
import { ExchangeExpired, UnknownExchange, VaultUnavailable } from './errors.js';

/**
 * Most exchanges of one kind that may be open at the same time, and most expired ones that are remembered.
 */
const LIMIT = 100_000;

/** @returns a random id, 16 bytes as 22 base64url characters */
export const newExchangeId = (): string => randomBytes(16).toString('base64url');

/**
 * First halves of two-message exchanges, in memory. Each can be taken once, and within a time that is
 * measured by a monotonic clock.
 */
export class Exchanges<T extends { readonly account: string }> {
  readonly #open = new Map<string, { value: T; expires: number }>();
  readonly #byAccount = new Map<string, Set<T>>();
  /** accounts of exchanges that expired, by their ids */
  readonly #expired = new Map<string, string>();
  readonly #timer: NodeJS.Timeout;

  /** @param lifetime milliseconds @param onExpire is called once for each that was not taken in time */
  constructor(
    readonly lifetime: number,
    readonly onExpire: (value: T) => void,
  ) {
    this.#timer = setInterval(() => this.#expire(), Math.min(1000, lifetime)).unref();
  }

  get size(): number {
    return this.#open.size;
  }

  values(): T[] {
    return [...this.#open.values()].map(({ value }) => value);
  }

  /** The exchanges of one account, found in the same time however many accounts there are. */
  of(account: string): T[] {
    return [...(this.#byAccount.get(account) ?? [])];
  }

  /** @throws VaultUnavailable when too many are open */
  expectRoom(): void {
    if (this.#open.size >= LIMIT) throw new VaultUnavailable('too many exchanges are under way');
  }

  /** @throws as {@link expectRoom} */
  add(id: string, value: T): void {
    this.expectRoom();
    this.#open.set(id, { value, expires: performance.now() + this.lifetime });
    const { account } = value;
    this.#byAccount.set(account, (this.#byAccount.get(account) ?? new Set()).add(value));
  }

  /** @throws UnknownExchange when no exchange has that id, or it is another account's; ExchangeExpired */
  get(id: string, account: string): T {
    const found = this.find(id, account);
    if (found) return found;
    if (this.#expired.get(id) === account) throw new ExchangeExpired();
    throw new UnknownExchange('this exchange is not under way; start again');
  }

  /** The exchange of that id, when it is open and the account's. */
  find(id: string, account: string): T | undefined {
    const found = this.#open.get(id)?.value;
    return found?.account === account ? found : undefined;
  }

  /** Takes an exchange out. @throws as {@link get} */
  take(id: string, account: string): T {
    const value = this.get(id, account);
    this.#delete(id, value);
    return value;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Closes, and ends those that are still open as if they had expired. */
  end(): void {
    for (const value of this.values()) this.onExpire(value);
    this.close();
  }

  #expire(): void {
    const now = performance.now();
    for (const [id, { value, expires }] of this.#open) {
      if (expires > now) return;
      this.#delete(id, value);
      this.#expired.set(id, value.account);
      if (this.#expired.size > LIMIT) this.#expired.delete(this.#expired.keys().next().value as string);
      this.onExpire(value);
    }
  }

  #delete(id: string, value: T): void {
    this.#open.delete(id);
    const same = this.#byAccount.get(value.account);
    same?.delete(value);
    if (same?.size === 0) this.#byAccount.delete(value.account);
  }
}
