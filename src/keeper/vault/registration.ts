import { createHash, timingSafeEqual } from 'node:crypto';
import {
  finishMac,
  forget,
  parseRegistrationRecord,
  type RegistrationStart,
  type RegistrationUpload,
  registrationKeys,
  startMac,
  xOf,
} from '../../protocol/index.js';
import type { Cell, Ledger } from '../ledger/index.js';
import { KEY_LABELS, type WrappedKey } from '../pkcs11/index.js';
import type { Token } from '../pool/index.js';
import type { Accounts } from './accounts.js';
import { toElement } from './elements.js';
import { InvalidMessage, KeyExists } from './errors.js';
import { Exchanges, newExchangeId } from './exchanges.js';
import type { Account } from './names.js';

/** How a client begins a registration. */
export interface RegistrationRequest {
  /** blindedElement, 33 bytes */
  readonly registrationRequest: Uint8Array;
  /** X, 33 bytes, fresh; a plain client of RFC 9807 has none, and then the registration binds no names and has no MACs */
  readonly keyshare?: Uint8Array;
}

/** How a client ends it. */
export interface RegistrationFinish {
  readonly registrationId: string;
  /** 129 bytes */
  readonly registrationRecord: Uint8Array;
  /** 1 to 512 bytes that the client encrypted; kept as they are */
  readonly encryptedBackupKey: Uint8Array;
  /** whether the key that the account may have is given up for this one; not unless told */
  readonly replace?: boolean;
  /** 32 bytes; there is one exactly when the start had a key share */
  readonly mac?: Uint8Array;
}

/** The MACs of an exchange with a client that sent a key share. */
interface Bound {
  readonly startMac: Uint8Array;
  readonly keys: { start: Uint8Array; finish: Uint8Array };
}

/** A registration between its two messages. */
interface Registration {
  readonly account: string;
  readonly cell: Cell;
  readonly key: WrappedKey;
  readonly bound: Bound | undefined;
}

/** A registration that was finished: the same message, sent again, is answered as the first. */
interface Finished {
  readonly account: string;
  readonly digest: Uint8Array;
  readonly done: Promise<void>;
}

/** Key shares that were seen. */
const REMEMBERED = 100_000;

/** Registrations under a key that the token makes. */
export class Registrations {
  readonly #token: Token;
  readonly #ledger: Ledger;
  readonly #accounts: Accounts;
  readonly #serverPublicKey: Uint8Array;
  readonly #seen = new Set<string>();
  readonly #finished: Exchanges<Finished>;
  readonly open: Exchanges<Registration>;

  constructor(
    token: Token,
    ledger: Ledger,
    accounts: Accounts,
    { serverPublicKey, lifetime }: { serverPublicKey: Uint8Array; lifetime: number },
  ) {
    this.#token = token;
    this.#ledger = ledger;
    this.#accounts = accounts;
    this.#serverPublicKey = serverPublicKey;
    this.open = new Exchanges(lifetime, ({ cell, bound }) => {
      ledger.release(cell);
      if (bound) forget(bound.keys);
    });
    this.#finished = new Exchanges(lifetime, () => undefined);
  }

  close(): void {
    this.open.close();
    this.#finished.close();
  }

  /** @throws InvalidMessage */
  async start(account: Account, { registrationRequest, keyshare }: RegistrationRequest) {
    const blindedElement = toElement(registrationRequest);
    const shared = keyshare && (await this.#shared(keyshare));
    const cell = await this.#ledger.pick();
    try {
      const key = await this.#token.call('generateWrapped');
      const evaluatedElement = await this.#token.call('multiply', key, blindedElement);
      const registrationId = newExchangeId();
      const limit = this.#ledger.limit;
      const bound =
        keyshare &&
        shared &&
        bind(shared, {
          serverPublicKey: this.#serverPublicKey,
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
      throw error;
    }
  }

  /** x(s·X). @throws InvalidMessage when X is no element, or was seen before */
  async #shared(keyshare: Uint8Array): Promise<Uint8Array> {
    const point = toElement(keyshare);
    const name = Buffer.from(keyshare).toString('base64');
    if (this.#seen.has(name)) throw new InvalidMessage('this key share was used before; make a fresh one');
    this.#seen.add(name);
    if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value as string);
    const product = await this.#token.call('multiply', { label: KEY_LABELS.static }, point);
    const shared = xOf(product);
    product.fill(0);
    return shared;
  }

  /** @throws InvalidMessage, KeyExists, and nothing has changed; UnknownExchange, ExchangeExpired */
  async finish(account: Account, message: RegistrationFinish): Promise<void> {
    toElement(parseRegistrationRecord(message.registrationRecord).clientPublicKey);
    const { registrationId } = message;
    const digest = digestOf(message);
    const before = this.#finished.find(registrationId, account.name);
    if (before && timingSafeEqual(before.digest, digest)) return before.done;
    const registration = this.open.get(registrationId, account.name);
    check(registration.bound, message);
    this.open.take(registrationId, account.name);
    const done = this.#keep(registration, message);
    this.#finished.add(registrationId, { account: account.name, digest, done });
    await done;
  }

  async #keep(
    { account, cell, key, bound }: Registration,
    { registrationRecord, encryptedBackupKey, replace = false }: RegistrationFinish,
  ): Promise<void> {
    if (bound) forget(bound.keys);
    const content = {
      dealing: '',
      named: bound !== undefined,
      wrappedKey: key.wrapped,
      publicKey: key.publicKey,
      registrationRecord,
      encryptedBackupKey,
    };
    await this.#accounts.inTurn(account, async () => {
      if (!replace) await this.#expectNone(account).catch((error) => this.#giveUp(cell, error));
      await this.#accounts.store({ account, ...cell }, content, () => true);
    });
  }

  /** @throws KeyExists when the account has a key, or a share of one */
  async #expectNone(account: string): Promise<void> {
    if ((await this.#accounts.live(account)).length > 0) throw new KeyExists();
  }

  #giveUp(cell: Cell, error: unknown): never {
    this.#ledger.release(cell);
    throw error;
  }
}

function bind(shared: Uint8Array, start: RegistrationStart): Bound {
  const keys = registrationKeys(shared);
  return { keys, startMac: startMac(keys.start, start) };
}

/** @throws InvalidMessage when the message is not that of the client which began */
function check(bound: Bound | undefined, { mac, ...message }: RegistrationFinish): void {
  if (!bound) {
    if (mac) throw new InvalidMessage('this registration was begun without a key share, and has no MAC');
    return;
  }
  const upload: RegistrationUpload = message;
  const expected = finishMac(bound.keys.finish, bound.startMac, upload);
  if (mac?.length !== expected.length || !timingSafeEqual(mac, expected))
    throw new InvalidMessage('the MAC is not that of the client which began this registration');
}

function digestOf({ registrationRecord, encryptedBackupKey, replace, mac }: RegistrationFinish): Uint8Array {
  const hash = createHash('sha256')
    .update(registrationRecord)
    .update(replace ? 'in place' : 'new')
    .update(mac ? 'with' : 'without');
  return hash
    .update(mac ?? '')
    .update(encryptedBackupKey)
    .digest();
}
