import { CodedError } from '../../protocol/terms.js';

const WINDOW_MS = 60_000;

/** Lets each account make so many requests a minute. */
export class AccountLimit {
  #begun = performance.now();
  readonly #counts = new Map<string, number>();

  /** @param limit requests of an account in a minute */
  constructor(readonly limit: number) {}

  /** @throws CodedError rate-limited */
  count(account: string): void {
    const now = performance.now();
    if (now - this.#begun >= WINDOW_MS) {
      this.#begun = now;
      this.#counts.clear();
    }
    const count = (this.#counts.get(account) ?? 0) + 1;
    this.#counts.set(account, count);
    if (count > this.limit)
      throw new CodedError('rate-limited', 'wait as Retry-After says, then try again', {
        retryAfter: Math.max(1, Math.ceil((WINDOW_MS - (now - this.#begun)) / 1000)),
      });
  }
}
