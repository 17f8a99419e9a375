import type { Ledger } from '../ledger/index.js';
import { type Token, TokenError } from '../pkcs11/index.js';
import type { Accounts } from './accounts.js';
import { InvalidMessage, UnknownExchange } from './errors.js';

/** What a client sends to have this vault keep its share of a fleet's key. */
export interface ShareRegistration {
  /** which dealing it is, 32 hexadecimal digits: 16 of a count that grows, 16 random */
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

/** Dealings of one account that were not ended: more are refused until a recovery or a deletion clears them. */
const MAX_DEALINGS = 8;

/** Shares of keys that a client deals to a fleet, of which an account may have several for a time. */
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
   * @param publicKey the share's, 65 bytes @param clientPublicKey 65 bytes
   * @throws InvalidMessage
   */
  register(
    account: string,
    share: ShareRegistration,
    publicKey: Uint8Array,
    clientPublicKey: Uint8Array,
  ): Promise<void> {
    const { dealing, registrationRecord, encryptedBackupKey } = share;
    return this.#accounts.inTurn(account, async () => {
      const held = new Set((await this.#accounts.live(account)).map((row) => row.dealing)).add(dealing);
      if (held.size > MAX_DEALINGS)
        throw new InvalidMessage('too many registrations of this account were cut off; recover or delete it');
      const cell = await this.#ledger.pick();
      let reserved = false;
      try {
        const wrappedKey = await this.#import(share, this.#ledger.keyOf(cell), publicKey, clientPublicKey);
        const row = {
          account,
          dealing,
          named: true,
          wrappedKey,
          publicKey,
          registrationRecord,
          encryptedBackupKey,
        };
        reserved = true;
        await this.#accounts.store({ ...row, ...cell }, (old) => old.dealing === dealing);
      } finally {
        if (!reserved) this.#ledger.release(cell);
      }
    });
  }

  async #import(
    { transportKey, wrappedShare }: ShareRegistration,
    wrappingKey: string,
    publicKey: Uint8Array,
    clientPublicKey: Uint8Array,
  ): Promise<Uint8Array> {
    const wrapped = await this.#token
      .call('importWrapped', transportKey, wrappedShare, wrappingKey)
      .catch((error) => Promise.reject(refused(error, /CKR_(WRAPPED|UNWRAPPING|ENCRYPTED|GENERAL)/)));
    // An evaluation that ends on the curve proves that the share is the public key's.
    await this.#token
      .call('multiply', { wrapped, wrappingKey, publicKey }, clientPublicKey)
      .catch((error) => Promise.reject(refused(error, /BKV_KEY_PAIR/)));
    return wrapped;
  }

  /** Ends every other dealing of the account. @throws UnknownExchange when this one is not held */
  commit(account: string, dealing: string): Promise<void> {
    return this.#accounts.inTurn(account, async () => {
      const rows = await this.#accounts.live(account);
      if (!rows.some((row) => row.dealing === dealing))
        throw new UnknownExchange('this vault holds no share of that dealing');
      await this.#accounts.end(rows.filter((row) => row.dealing !== dealing));
    });
  }
}

/** The client's fault, when the token's answer says so; else the error as it is. */
const refused = (error: Error, codes: RegExp): Error =>
  error instanceof TokenError && codes.test(`${error.reason} ${error.message}`)
    ? new InvalidMessage('the share is not wrapped for this token, or is not that of its public key')
    : error;
