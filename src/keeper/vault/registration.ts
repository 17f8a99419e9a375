import { forget, parseRegistrationRecord } from '../../protocol/index.js';
import type { Cell, Ledger } from '../ledger/index.js';
import type { WrappedKey } from '../pkcs11/index.js';
import type { Token } from '../pool/index.js';
import { type Accounts, isSame } from './accounts.js';
import { toElement } from './elements.js';
import { InvalidMessage, KeyExists } from './errors.js';
import { Exchanges, newExchangeId } from './exchanges.js';
import { Finishes, untilDone } from './finishes.js';
import { type Bound, checkFinish, type KeyAgreement } from './key-agreement.js';
import type { Lifecycle } from './lifecycle.js';
import type { Account } from './names.js';

/** How a client begins a registration. */
export interface RegistrationRequest {
  /** blindedElement, 33 bytes */
  readonly registrationRequest: Uint8Array;
  /** X, 33 bytes, fresh; a plain client of RFC 9807 has none, and then the registration binds no names and has no MACs */
  readonly keyshare?: Uint8Array;
}

/** How the client ends it. */
export interface RegistrationFinish {
  readonly registrationId: string;
  /** 129 bytes */
  readonly registrationRecord: Uint8Array;
  /** 1 to 512 bytes that the client encrypted; kept as they are */
  readonly encryptedBackupKey: Uint8Array;
  /** whether the key that the account may have is given up for this one; by default it is not */
  readonly replace?: boolean;
  /** 32 bytes; there is one exactly when the start had a key share */
  readonly mac?: Uint8Array;
}

/** A registration between its two messages. */
interface Registration {
  readonly account: string;
  readonly cell: Cell;
  readonly key: WrappedKey;
  readonly bound: Bound | undefined;
}

/** Registrations under a key that the token makes. */
export class Registrations {
  readonly #token: Token;
  readonly #ledger: Ledger;
  readonly #accounts: Accounts;
  readonly #serverPublicKey: Uint8Array;
  readonly #agreement: KeyAgreement;
  readonly #lifecycle: Lifecycle;
  readonly #finishes: Finishes<void>;
  readonly open: Exchanges<Registration>;

  constructor(
    token: Token,
    ledger: Ledger,
    accounts: Accounts,
    agreement: KeyAgreement,
    lifecycle: Lifecycle,
    { serverPublicKey, lifetime }: { serverPublicKey: Uint8Array; lifetime: number },
  ) {
    this.#agreement = agreement;
    this.#lifecycle = lifecycle;
    this.#token = token;
    this.#ledger = ledger;
    this.#accounts = accounts;
    this.#serverPublicKey = serverPublicKey;
    this.open = new Exchanges(lifetime, ({ cell, bound }) => {
      ledger.release(cell);
      if (bound) forget(bound.keys);
    });
    this.#finishes = new Finishes(lifetime);
  }

  close(): void {
    this.open.end();
    this.#finishes.close();
  }

  /** @throws InvalidMessage */
  async start(account: Account, request: RegistrationRequest) {
    const blindedElement = toElement(request.registrationRequest);
    const begin = (shared?: Uint8Array) => this.#begin(account, request, blindedElement, shared);
    return request.keyshare ? this.#agreement.agree(request.keyshare, begin) : begin();
  }

  async #begin(
    account: Account,
    { registrationRequest, keyshare }: RegistrationRequest,
    blindedElement: Uint8Array,
    shared: Uint8Array | undefined,
  ) {
    const cell = await this.#ledger.pick();
    let bound: Bound | undefined;
    try {
      const key = await this.#token.call('generateWrapped');
      const evaluatedElement = await this.#token.call('multiply', key, blindedElement);
      const registrationId = newExchangeId();
      const limit = this.#ledger.limit;
      if (keyshare && shared)
        bound = this.#agreement.bind(shared, {
          keyshare,
          account: account.subject,
          registrationId: Buffer.from(registrationId, 'base64url'),
          blindedElement: registrationRequest,
          evaluatedElement,
          transportKey: new Uint8Array(0),
          limit,
        });
      this.open.add(registrationId, { account: account.name, cell, key, bound });
      const registrationResponse = Buffer.concat([evaluatedElement, this.#serverPublicKey]);
      return { registrationId, registrationResponse, limit, ...(bound && { mac: bound.startMac }) };
    } catch (error) {
      this.#ledger.release(cell);
      if (bound) forget(bound.keys);
      throw error;
    }
  }

  /**
   * @throws InvalidMessage, KeyExists, after which nothing has changed; UnknownExchange, ExchangeExpired,
   * VaultUnavailable
   */
  finish(account: Account, message: RegistrationFinish): Promise<void> {
    const { registrationId } = message;
    return this.#finishes.once(registrationId, account.name, fieldsOf(message), () => {
      const registration = this.open.get(registrationId, account.name);
      toElement(parseRegistrationRecord(message.registrationRecord).clientPublicKey);
      check(registration.bound, message);
      this.open.take(registrationId, account.name);
      const { work, over } = this.#keep(registration, message, account.requestId);
      return untilDone(() => this.#lifecycle.durably(work), over);
    });
  }

  /** @returns the work to be done, which may be called again if it failed, and what ends it */
  #keep(
    { account, cell, key, bound }: Registration,
    { registrationRecord, encryptedBackupKey, replace = false }: RegistrationFinish,
    requestId: string | undefined,
  ) {
    if (bound) forget(bound.keys);
    const content = {
      dealing: '',
      named: bound !== undefined,
      wrappedKey: key.wrapped,
      publicKey: key.publicKey,
      registrationRecord,
      encryptedBackupKey,
    };
    const placing = this.#accounts.place(account, content, cell);
    const store = async () => {
      const live = await this.#accounts.live({ name: account, requestId });
      // An earlier try that failed may have taken effect.
      if (live.some((row) => isSame(row, content))) return;
      if (live.length > 0 && !replace) throw new KeyExists();
      await this.#accounts.store(placing, requestId, () => true);
    };
    return {
      work: () => this.#accounts.inTurn(account, store).finally(() => placing.release()),
      over: () => void placing.end().catch(() => undefined),
    };
  }
}

/** @throws InvalidMessage when the message does not come from the client that began */
function check(bound: Bound | undefined, { mac, ...upload }: RegistrationFinish): void {
  if (bound) checkFinish(bound, upload, mac);
  else if (mac) throw new InvalidMessage('this registration was started without a key share and has no MAC');
}

/** All fields of a finish. */
const fieldsOf = ({ registrationRecord, encryptedBackupKey, replace = false, mac }: RegistrationFinish) => [
  registrationRecord,
  encryptedBackupKey,
  Uint8Array.of(replace ? 1 : 0),
  mac ?? NO_MAC,
];
const NO_MAC = new Uint8Array(0);
