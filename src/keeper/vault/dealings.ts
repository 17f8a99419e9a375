import type { Ledger } from '../ledger/index.js';
import { TokenError } from '../pkcs11/index.js';
import type { Token } from '../pool/index.js';
import type { OpenRow } from '../records/index.js';
import type { Accounts } from './accounts.js';
import { AttemptsUnderWay, DealingConflict, InvalidMessage, UnknownExchange } from './errors.js';

/** What a client sends to have this vault keep its share of a fleet's key. */
export interface ShareRegistration {
  /** which dealing it is, 32 hexadecimal digits: 8 of a count that grows, 8 of the fleet, 16 random */
  readonly dealing: string;
  /** share·G, 33 bytes */
  readonly sharePublicKey: Uint8Array;
  /** AES-256 key under the token's transport key, RSA-OAEP, 384 bytes */
  readonly transportKey: Uint8Array;
  /** the share, PKCS#8, under that AES key (RFC 5649), 80 bytes */
  readonly wrappedShare: Uint8Array;
  /** 129 bytes */
  readonly registrationRecord: Uint8Array;
  readonly encryptedBackupKey: Uint8Array;
}

/** Keys of one account that are not ended: more are refused until one of them is committed, or the account deleted. */
const MAX_KEYS = 4;

/**
 * Shares of keys that a client deals to a fleet. An account has several for a time: a dealing ends the others only when
 * it is committed, and is committed only once a password was proven against it here (docs/fleet.md).
 */
export class Dealings {
  readonly #token: Token;
  readonly #ledger: Ledger;
  readonly #accounts: Accounts;

  constructor(token: Token, ledger: Ledger, accounts: Accounts) {
    this.#token = token;
    this.#ledger = ledger;
    this.#accounts = accounts;
  }

  /**
   * Keeps a share beside the account's other keys, in place of one that was proven by nobody. It begins with the
   * attempts that are spent on them.
   * @param publicKey the share's, 65 bytes @param clientPublicKey 65 bytes
   * @throws InvalidMessage, DealingConflict, AttemptsUnderWay
   */
  register(
    account: string,
    share: ShareRegistration,
    publicKey: Uint8Array,
    clientPublicKey: Uint8Array,
  ): Promise<void> {
    const { dealing, registrationRecord, encryptedBackupKey } = share;
    return this.#accounts.inTurn(account, async () => {
      const rows = await this.#accounts.live(account);
      const kept = rows.filter((row) => this.#isProven(row));
      if (kept.some((row) => row.dealing === dealing))
        throw new DealingConflict('a password was proven against this dealing; it cannot be dealt again');
      if (kept.length >= MAX_KEYS)
        throw new DealingConflict(
          'too many changes of this account are pending; recover, and finish one of them',
        );
      if (rows.some((row) => this.#isExhausted(row))) throw new AttemptsUnderWay();
      const cell = await this.#ledger.pick();
      let reserved = false;
      try {
        const wrappedKey = await this.#import(share, publicKey, clientPublicKey);
        const content = {
          dealing,
          named: true,
          wrappedKey,
          publicKey,
          registrationRecord,
          encryptedBackupKey,
        };
        reserved = true;
        await this.#accounts.store(
          { account, ...cell },
          content,
          (old) => !this.#isProven(old),
          () => true,
        );
      } finally {
        if (!reserved) this.#ledger.release(cell);
      }
    });
  }

  async #import(
    { transportKey, wrappedShare }: ShareRegistration,
    publicKey: Uint8Array,
    clientPublicKey: Uint8Array,
  ): Promise<Uint8Array> {
    const wrapped = await this.#token
      .call('importWrapped', transportKey, wrappedShare)
      .catch((error) => Promise.reject(refused(error, /CKR_(WRAPPED|UNWRAPPING|ENCRYPTED|GENERAL)/)));
    // An evaluation that ends on the curve proves that the share is the public key's.
    await this.#token
      .call('multiply', { wrapped, publicKey }, clientPublicKey)
      .catch((error) => Promise.reject(refused(error, /BKV_KEY_PAIR/)));
    return wrapped;
  }

  /** A key of the vault's own needs no proof: a fleet's client did not make it. */
  #isProven(row: OpenRow): boolean {
    const now = this.#ledger.state(row);
    return row.dealing === '' || (now.state === 'live' && now.proven);
  }

  #isExhausted(row: OpenRow): boolean {
    const now = this.#ledger.state(row);
    return now.state === 'live' && now.used >= now.limit;
  }

  /**
   * Ends every other key of the account.
   * @throws UnknownExchange when this dealing is not held, DealingConflict when nobody has proven a password against it
   */
  commit(account: string, dealing: string): Promise<void> {
    return this.#accounts.inTurn(account, async () => {
      const rows = await this.#accounts.live(account);
      if (!this.#isProven(find(rows, dealing)))
        throw new DealingConflict(
          'nobody has proven a password against this dealing here; recover with it first',
        );
      await this.#accounts.end(rows.filter((row) => row.dealing !== dealing));
    });
  }

  /**
   * Ends a dealing that was cut off before anybody proved a password against it.
   * @throws UnknownExchange when it is not held, DealingConflict when it was proven
   */
  withdraw(account: string, dealing: string): Promise<void> {
    return this.#accounts.inTurn(account, async () => {
      const row = find(await this.#accounts.live(account), dealing);
      if (this.#isProven(row))
        throw new DealingConflict(
          'a password was proven against this dealing; only another that is committed ends it',
        );
      await this.#accounts.end([row]);
    });
  }
}

/** @throws UnknownExchange */
function find(rows: readonly OpenRow[], dealing: string): OpenRow {
  const row = rows.find((one) => one.dealing === dealing);
  if (!row) throw new UnknownExchange('this vault holds no share of that dealing');
  return row;
}

/** The client's fault, when the token's answer says so; else the error as it is. */
const refused = (error: Error, codes: RegExp): Error =>
  error instanceof TokenError && codes.test(`${error.reason} ${error.message}`)
    ? new InvalidMessage('the share is not wrapped for this token, or is not that of its public key')
    : error;
