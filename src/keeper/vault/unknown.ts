import { createHmac } from 'node:crypto';
import type { Ledger } from '../ledger/index.js';
import { AccountLocked, AttemptsUnderWay } from './errors.js';
import type { Credential, Spent } from './recovery.js';

/** How many unknown accounts have their attempts counted. */
const REMEMBERED = 65_536;

/** Accounts that have no key: they are answered, counted and locked in the same way as known ones. */
export class UnknownAccounts {
  readonly #seed: Uint8Array;
  readonly #ledger: Ledger;
  readonly #serverPublicKey: Uint8Array;
  readonly #used = new Map<string, number>();

  /** @param seed 32 bytes, the same at every start */
  constructor(ledger: Ledger, serverPublicKey: Uint8Array, seed: Uint8Array) {
    this.#ledger = ledger;
    this.#serverPublicKey = serverPublicKey;
    this.#seed = seed;
  }

  /** A record for an account that has none, the same at every request (RFC 9807, section 10.9). */
  credential(account: string): Credential {
    const derive = (label: string) => createHmac('sha256', this.#seed).update(`${label} ${account}`).digest();
    const scalar = derive('OprfKey');
    // A random scalar is above the group's order with probability 2^-32. Clearing the top bit keeps it below.
    scalar[0] = (scalar[0] as number) & 0x7f;
    return {
      key: { scalar },
      record: Buffer.concat([this.#serverPublicKey, derive('MaskingKey'), new Uint8Array(64)]),
      encryptedBackupKey: new Uint8Array(0),
      named: true,
    };
  }

  /** @param isOpen whether attempts are under way @throws AccountLocked, AttemptsUnderWay */
  spend(account: string, isOpen: boolean): Spent {
    const { limit } = this.#ledger;
    const used = this.#used.get(account) ?? 0;
    if (used >= limit) throw isOpen ? new AttemptsUnderWay() : new AccountLocked();
    const attempt = this.#ledger.spend([]);
    this.#used.delete(account);
    this.#used.set(account, used + 1);
    if (this.#used.size > REMEMBERED) this.#used.delete(this.#used.keys().next().value as string);
    return { attempt, attemptsRemaining: limit - used - 1 };
  }

  /** Gives back an attempt for which nothing left the vault. */
  giveBack(account: string): void {
    const used = this.#used.get(account);
    if (used) this.#used.set(account, used - 1);
  }

  /** Takes as long as locking a known account does. */
  async lock(account: string): Promise<void> {
    if ((this.#used.get(account) ?? 0) >= this.#ledger.limit) await this.#ledger.retire([]);
  }

  /** A key of the account ends. If that was its only one, the account has all attempts again. */
  forget(account: string): void {
    this.#used.delete(account);
  }

  close(): void {
    this.#seed.fill(0);
  }
}
