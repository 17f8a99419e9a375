import { randomBytes } from 'node:crypto';
import { VaultUnavailable } from './errors.js';

/** Exchanges of one kind that may be open at the same time. */
const LIMIT = 100_000;

/** First halves of two-message exchanges, in memory, each to be taken once and within a time. */
export class Exchanges<T extends { readonly account: string }> {
  readonly #open = new Map<string, { value: T; expires: number }>();
  readonly #byAccount = new Map<string, Set<T>>();
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

  /** Those of one account: as fast with many accounts as with one. */
  of(account: string): T[] {
    return [...(this.#byAccount.get(account) ?? [])];
  }

  /** @returns a random id, 16 bytes as 22 base64url characters @throws VaultUnavailable when too many are open */
  add(value: T): string {
    if (this.#open.size >= LIMIT) throw new VaultUnavailable('too many exchanges are under way');
    const id = randomBytes(16).toString('base64url');
    this.#open.set(id, { value, expires: Date.now() + this.lifetime });
    const { account } = value;
    this.#byAccount.set(account, (this.#byAccount.get(account) ?? new Set()).add(value));
    return id;
  }

  /** Takes an exchange out; `undefined` when there is none of that id, or it is another account's. */
  take(id: string, account: string): T | undefined {
    const found = this.#open.get(id);
    if (found?.value.account !== account) return undefined;
    this.#delete(id, found.value);
    return found.value;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #expire(): void {
    const now = Date.now();
    for (const [id, { value, expires }] of this.#open) {
      if (expires > now) return;
      this.#delete(id, value);
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
