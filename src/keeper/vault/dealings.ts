import { forget, parseRegistrationRecord } from '../../protocol/index.js';
import { compress } from '../elements/index.js';
import type { Ledger } from '../ledger/index.js';
import { audit } from '../log/index.js';
import type { WrappedKey } from '../pkcs11/index.js';
import type { Token } from '../pool/index.js';
import type { OpenRow } from '../records/index.js';
import { type Accounts, isSame } from './accounts.js';
import { toElement } from './elements.js';
import { AttemptsUnderWay, DealingConflict, UnknownExchange } from './errors.js';
import { Exchanges, newExchangeId } from './exchanges.js';
import { Finishes, untilDone } from './finishes.js';
import { type Bound, checkFinish, type KeyAgreement } from './key-agreement.js';
import type { Lifecycle } from './lifecycle.js';
import type { Account, Asked } from './names.js';
import type { Placing } from './placing.js';

/** How a client begins to have this vault keep its share of a fleet's key. */
export interface ShareRequest {
  /** which dealing it is, 32 hexadecimal digits: 8 of a count that grows, 8 of the fleet, 16 random */
  readonly dealing: string;
  /** of the share, 1 to 255 */
  readonly index: number;
  /** X, 33 bytes, fresh */
  readonly keyshare: Uint8Array;
}

/** How the client ends it. */
export interface ShareFinish {
  readonly registrationId: string;
  /** share·G, 33 bytes */
  readonly sharePublicKey: Uint8Array;
  /** the share, PKCS#8, under x(X·E) (RFC 5649), 80 bytes */
  readonly wrappedShare: Uint8Array;
  /** 129 bytes */
  readonly registrationRecord: Uint8Array;
  readonly encryptedBackupKey: Uint8Array;
  /** 32 bytes */
  readonly mac: Uint8Array;
}

/** A registration of a share between its two messages. */
interface ShareExchange {
  readonly account: string;
  readonly dealing: string;
  /** X, 65 bytes */
  readonly keyshare: Uint8Array;
  /** E: the share travels under it; it is kept nowhere else */
  readonly transport: WrappedKey;
  readonly bound: Bound;
}

/**
 * Most keys that one account may have: more are refused until one of them is committed, or the account is
 * deleted.
 */
const MAX_KEYS = 4;

/**
 * Shares of keys that a client deals to a fleet. An account has several for a time: a dealing ends the others only when
 * it is committed, and is committed only once a password was proven against it here (docs/fleet.md).
 */
export class Dealings {
  readonly #token: Token;
  readonly #ledger: Ledger;
  readonly #accounts: Accounts;
  readonly #agreement: KeyAgreement;
  readonly #lifecycle: Lifecycle;
  readonly #finishes: Finishes<void>;
  readonly open: Exchanges<ShareExchange>;

  /** @param lifetime milliseconds between the two messages of a registration */
  constructor(
    token: Token,
    ledger: Ledger,
    accounts: Accounts,
    agreement: KeyAgreement,
    lifecycle: Lifecycle,
    lifetime: number,
  ) {
    this.#token = token;
    this.#ledger = ledger;
    this.#accounts = accounts;
    this.#agreement = agreement;
    this.#lifecycle = lifecycle;
    this.#finishes = new Finishes(lifetime);
    this.open = new Exchanges(lifetime, end);
  }

  close(): void {
    this.open.end();
    this.#finishes.close();
  }

  /** Has the token make the key pair E, under which one share travels. @throws InvalidMessage */
  start(account: Account, request: ShareRequest) {
    return this.#agreement.agree(request.keyshare, (shared) => this.#begin(account, request, shared));
  }

  async #begin({ name, subject }: Account, { dealing, index, keyshare }: ShareRequest, shared: Uint8Array) {
    const transport = await this.#token.call('generateWrapped');
    const transportKey = compress(transport.publicKey);
    const registrationId = newExchangeId();
    const { limit } = this.#ledger;
    const bound = this.#agreement.bind(shared, {
      keyshare,
      account: subject,
      registrationId: Buffer.from(registrationId, 'base64url'),
      blindedElement: NONE,
      evaluatedElement: NONE,
      transportKey,
      limit,
      dealt: { dealing: Buffer.from(dealing, 'hex'), index },
    });
    const exchange = { account: name, dealing, keyshare: toElement(keyshare), transport, bound };
    try {
      this.open.add(registrationId, exchange);
    } catch (error) {
      end(exchange);
      throw error;
    }
    return { registrationId, transportKey, limit, mac: bound.startMac };
  }

  /**
   * Keeps a share beside the account's other keys. It replaces a share against which no password was proven.
   * It begins with the attempts that are spent on the other keys.
   * @throws InvalidMessage, UnknownExchange, ExchangeExpired, DealingConflict, AttemptsUnderWay,
   * VaultUnavailable
   */
  async finish({ name: account, requestId }: Account, message: ShareFinish): Promise<void> {
    const { registrationId, sharePublicKey, wrappedShare, registrationRecord, encryptedBackupKey, mac } =
      message;
    const fields = [sharePublicKey, wrappedShare, registrationRecord, encryptedBackupKey, mac];
    await this.#finishes.once(registrationId, account, fields, () => {
      const exchange = this.open.get(registrationId, account);
      toElement(parseRegistrationRecord(registrationRecord).clientPublicKey);
      const publicKey = toElement(sharePublicKey);
      const share = { wrapped: wrappedShare, publicKey: sharePublicKey };
      checkFinish(exchange.bound, { registrationRecord, encryptedBackupKey, share }, mac);
      this.open.take(registrationId, account);
      const { work, over } = this.#keep(exchange, message, publicKey, requestId);
      return untilDone(() => this.#lifecycle.durably(work), over);
    });
  }

  /** @returns the work to be done, which may be called again if it failed, and what ends it */
  #keep(
    exchange: ShareExchange,
    { wrappedShare, registrationRecord, encryptedBackupKey }: ShareFinish,
    publicKey: Uint8Array,
    requestId: string | undefined,
  ) {
    const { account, dealing, keyshare, transport } = exchange;
    const share = { keyshare, wrapped: wrappedShare, publicKey };
    let placing: Placing | undefined;
    const store = async () => {
      const live = await this.#accounts.live({ name: account, requestId });
      const kept = { dealing, publicKey, registrationRecord };
      // An earlier try that failed may have taken effect.
      if (!live.some((row) => isSame(row, kept))) {
        this.#admit(dealing, live);
        placing ??= this.#accounts.place(account, {
          ...kept,
          named: true,
          wrappedKey: await this.#token.call('importShare', transport, share),
          encryptedBackupKey,
        });
        await this.#accounts.store(
          placing,
          requestId,
          (old) => !this.#isProven(old),
          () => true,
        );
      }
      audit('share registered', { account, dealing, requestId });
    };
    return {
      work: () => this.#accounts.inTurn(account, store).finally(() => placing?.release()),
      over: () => {
        end(exchange);
        void placing?.end().catch(() => undefined);
      },
    };
  }

  /** @throws DealingConflict, AttemptsUnderWay when the account's keys do not allow another one */
  #admit(dealing: string, rows: readonly OpenRow[]): void {
    const kept = rows.filter((row) => this.#isProven(row));
    if (kept.some((row) => row.dealing === dealing))
      throw new DealingConflict('a password was proven against this dealing; it cannot be dealt again');
    if (kept.length >= MAX_KEYS)
      throw new DealingConflict(
        'too many changes of this account are pending; recover, and finish one of them',
      );
    if (rows.some((row) => this.#isExhausted(row))) throw new AttemptsUnderWay();
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
  commit(account: Asked, dealing: string): Promise<void> {
    return this.#accounts.inTurn(account.name, async () => {
      const rows = await this.#accounts.live(account);
      if (!this.#isProven(find(rows, dealing)))
        throw new DealingConflict(
          'nobody has proven a password against this dealing here; recover with it first',
        );
      await this.#accounts.end(
        account.name,
        rows.filter((row) => row.dealing !== dealing),
      );
    });
  }

  /**
   * Ends a dealing that was cut off before anybody proved a password against it.
   * @throws UnknownExchange when it is not held, DealingConflict when it was proven
   */
  withdraw(account: Asked, dealing: string): Promise<void> {
    return this.#accounts.inTurn(account.name, async () => {
      const row = find(await this.#accounts.live(account), dealing);
      if (this.#isProven(row))
        throw new DealingConflict(
          'a password was proven against this dealing; only another that is committed ends it',
        );
      await this.#accounts.end(account.name, [row]);
    });
  }
}

/** @throws UnknownExchange */
function find(rows: readonly OpenRow[], dealing: string): OpenRow {
  const row = rows.find((one) => one.dealing === dealing);
  if (!row) throw new UnknownExchange('this vault holds no share of that dealing');
  return row;
}

const NONE = new Uint8Array(0);

/** Forgets what the registration needed, however it ended. */
function end({ transport, bound }: ShareExchange): void {
  transport.wrapped.fill(0);
  forget(bound.keys);
}
