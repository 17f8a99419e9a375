import type { Cell, Ledger } from '../ledger/index.js';
import type { Token } from '../pkcs11/index.js';
import type { Accounts } from './accounts.js';
import { UnknownExchange } from './errors.js';
import { Exchanges } from './exchanges.js';

/** A registration between its two messages. */
export interface Registration {
  readonly account: string;
  readonly cell: Cell;
  readonly wrappedKey: Uint8Array;
  readonly publicKey: Uint8Array;
}

/** Registrations under a key that the token makes. */
export class Registrations {
  readonly #token: Token;
  readonly #ledger: Ledger;
  readonly #accounts: Accounts;
  readonly open: Exchanges<Registration>;

  constructor(token: Token, ledger: Ledger, accounts: Accounts, lifetime: number) {
    this.#token = token;
    this.#ledger = ledger;
    this.#accounts = accounts;
    this.open = new Exchanges(lifetime, ({ cell }) => ledger.release(cell));
  }

  /** @param blindedElement 65 bytes */
  async start(account: string, blindedElement: Uint8Array) {
    const cell = await this.#ledger.pick();
    try {
      const wrappingKey = this.#ledger.keyOf(cell);
      const { wrapped, publicKey } = await this.#token.call('generateWrapped', wrappingKey);
      const key = { wrapped, wrappingKey, publicKey };
      const evaluated = await this.#token.call('multiply', key, blindedElement);
      return { registrationId: this.open.add({ account, cell, wrappedKey: wrapped, publicKey }), evaluated };
    } catch (error) {
      this.#ledger.release(cell);
      throw error;
    }
  }

  /** @throws UnknownExchange */
  take(account: string, registrationId: string): Registration {
    const registration = this.open.take(registrationId, account);
    if (!registration) throw new UnknownExchange('this registration is not under way; start again');
    return registration;
  }

  async finish(
    { account, cell, wrappedKey, publicKey }: Registration,
    registrationRecord: Uint8Array,
    encryptedBackupKey: Uint8Array,
  ): Promise<void> {
    const row = { account, dealing: '', wrappedKey, publicKey, registrationRecord, encryptedBackupKey };
    await this.#accounts.inTurn(account, () => this.#accounts.store({ ...row, ...cell }, () => true));
  }
}
