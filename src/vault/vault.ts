import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { Ledger, type LedgerStore, type Slot, SlotClosed, wrappingKeyLabel } from '../ledger/index.js';
import { accountHash, audit, log } from '../log/index.js';
import { lockouts, pendingLogins, tamperedRecords } from '../metrics/index.js';
import { generateKE2, parseKE1, parseRegistrationRecord } from '../opaque/index.js';
import { macInput, type Records, type Row } from '../records/index.js';
import { decompress, InvalidPoint, KEY_LABELS, type PrivateKey, type Token } from '../token/index.js';
import { AccountLocked, InvalidMessage, UnknownExchange, VaultUnavailable, WrongPassword } from './errors.js';
import { Exchanges } from './exchanges.js';

/** Bound into every key exchange: a login at one vault protocol cannot be replayed in another. */
export const CONTEXT = Buffer.from('backup-key-vault v1');

export interface VaultOptions {
  /** wrong passwords until the key is unreachable */
  readonly maxAttempts: number;
  /** milliseconds between the two messages of an exchange */
  readonly exchangeLifetime: number;
}

export type Status =
  | { readonly state: 'unregistered' }
  | { readonly state: 'registered'; readonly attemptsRemaining: number }
  | { readonly state: 'locked'; readonly attemptsRemaining: 0 };

type Registration = { account: string; slot: Slot; wrappedKey: Uint8Array; publicKey: Uint8Array };
type Recovery = {
  account: string;
  slot: Slot | undefined;
  attemptsRemaining: number;
  expectedKE3: Uint8Array;
  encryptedBackupKey: Uint8Array;
};
type Credential = { key: PrivateKey; record: Uint8Array; encryptedBackupKey: Uint8Array };

/** Unknown accounts whose attempts are counted, so that they end as known ones do. */
const PHANTOMS = 65_536;
const OPEN_EXCHANGES = 100_000;
const RETRY_MS = 1000;

/** The ledger's home in a token. */
export const ledgerStore = (token: Token): LedgerStore => ({
  createData: (label, value) => token.call('createData', label, value),
  destroyData: (handle) => token.call('destroyData', handle),
  listData: (prefix) => token.call('listData', prefix),
  generateWrappingKey: (label) => token.generateWrappingKey(label),
  destroyWrappingKey: (label) => token.destroyWrappingKey(label),
  listWrappingKeys: (prefix) => token.call('listSecretKeys', prefix),
});

/**
 * One vault: it holds backup keys that open with a password, counts the wrong passwords in its token, and knows
 * neither key nor password. Accounts are named as the caller's identity provider names them.
 */
export class Vault {
  readonly #token: Token;
  readonly #ledger: Ledger;
  readonly #records: Records;
  readonly #fakeSeed: Uint8Array;
  readonly #phantoms = new Map<string, number>();
  readonly #registrations: Exchanges<Registration>;
  readonly #recoveries: Exchanges<Recovery>;
  readonly #turns = new Map<string, Promise<unknown>>();
  #reloading: NodeJS.Timeout | undefined;
  /** the vault's identity, which clients pin: 33 bytes */
  readonly serverPublicKey: Uint8Array;
  readonly maxAttempts: number;

  private constructor(
    token: Token,
    ledger: Ledger,
    records: Records,
    serverPublicKey: Uint8Array,
    fakeSeed: Uint8Array,
    options: VaultOptions,
  ) {
    this.#token = token;
    this.#ledger = ledger;
    this.#records = records;
    this.serverPublicKey = serverPublicKey;
    this.#fakeSeed = fakeSeed;
    this.maxAttempts = options.maxAttempts;
    this.#registrations = new Exchanges(options.exchangeLifetime, OPEN_EXCHANGES, ({ slot }) =>
      ledger.release(slot),
    );
    this.#recoveries = new Exchanges(options.exchangeLifetime, OPEN_EXCHANGES, (recovery) => {
      this.#closeAttempt(recovery).catch((error) => this.#failed(error));
    });
  }

  /**
   * Opens a vault over an open token and database, which it closes at its end.
   * @throws LedgerCorrupt when the counters in the token are not whole; TokenError
   */
  static async open(token: Token, records: Records, options: VaultOptions): Promise<Vault> {
    const ledger = await Ledger.open(ledgerStore(token), options.maxAttempts);
    const serverPublicKey = await token.call('publicKey', KEY_LABELS.static);
    const fakeSeed = await token.call('hmac', KEY_LABELS.fake, Buffer.from('bkv fake records v1'));
    const vault = new Vault(token, ledger, records, serverPublicKey, fakeSeed, options);
    await vault.#tidy();
    return vault;
  }

  /** Whether an attempt could be counted now. */
  get ready(): boolean {
    return this.#ledger.usable;
  }

  /** @param registrationRequest blindedElement, 33 bytes @returns an id and evaluatedElement ‖ serverPublicKey, 66 bytes */
  async startRegistration(accountId: string, registrationRequest: Uint8Array) {
    const account = accountHash(accountId);
    const blindedElement = toElement(registrationRequest);
    return this.#guard(async () => {
      const slot = await this.#ledger.pick();
      try {
        const wrappingKey = wrappingKeyLabel(slot);
        const { wrapped, publicKey } = await this.#token.call('generateWrapped', wrappingKey);
        const evaluated = await this.#token.call(
          'multiply',
          { wrapped, wrappingKey, publicKey },
          blindedElement,
        );
        const registrationId = this.#registrations.add({ account, slot, wrappedKey: wrapped, publicKey });
        return { registrationId, registrationResponse: Buffer.concat([evaluated, this.serverPublicKey]) };
      } catch (error) {
        this.#ledger.release(slot);
        throw error;
      }
    });
  }

  /**
   * Replaces what the account had. When this resolves, token and database hold the registration; cut off before,
   * the account's older one still works.
   * @param registrationRecord 129 bytes
   * @param encryptedBackupKey bytes that the client encrypted; kept as they are
   */
  async finishRegistration(
    accountId: string,
    registrationId: string,
    registrationRecord: Uint8Array,
    encryptedBackupKey: Uint8Array,
  ) {
    const account = accountHash(accountId);
    toElement(parseRegistrationRecord(registrationRecord).clientPublicKey);
    const registration = this.#registrations.take(registrationId, account);
    if (!registration) throw new UnknownExchange('this registration is not under way; start again');
    const { slot, wrappedKey, publicKey } = registration;
    await this.#guard(() =>
      this.#inTurn(account, async () => {
        const row = { account, ...slot, wrappedKey, publicKey, registrationRecord, encryptedBackupKey };
        const mac = await this.#token.call('hmac', KEY_LABELS.record, macInput(row));
        await this.#ledger.reserve(slot);
        const before = await this.#records.find(account);
        const previous = await this.#live(before);
        await this.#records.insert({ ...row, mac });
        await this.#ledger.activate(slot, previous);
        for (const old of before) await this.#records.delete(old);
        this.#phantoms.delete(account);
      }),
    );
    audit('registered', { account });
  }

  /**
   * Spends an attempt and answers the client's KE1. An unknown account is answered like a known one.
   * @param KE1 98 bytes
   * @returns an id, KE2 (259 bytes), and the attempts left should this one fail
   * @throws AccountLocked when no attempt is left; InvalidMessage; VaultUnavailable
   */
  async startRecovery(accountId: string, KE1: Uint8Array) {
    const account = accountHash(accountId);
    const message = parseKE1(KE1);
    const blindedElement = toElement(message.blindedElement);
    const clientKeyshare = toElement(message.clientKeyshare);
    return this.#guard(async () => {
      const fake = this.#fake(account);
      const row = await this.#current(account);
      const { key, record, encryptedBackupKey } = row ? credentialOf(row) : fake;
      const { attemptsRemaining, durable } = row ? this.#spend(row) : this.#spendPhantom(account);
      const { clientPublicKey } = parseRegistrationRecord(record);
      const elements = { blindedElement, clientKeyshare, clientPublicKey };
      // The evaluation is made while the token takes the counter, and leaves only when the token has it.
      const [{ dh1, dh2, dh3, ...evaluation }] = await Promise.all([
        this.#token.call('login', key, { label: KEY_LABELS.static }, elements),
        durable,
      ]);
      const { KE2, expectedKE3, sessionKey } = generateKE2({
        context: CONTEXT,
        KE1,
        record,
        serverPublicKey: this.serverPublicKey,
        ...evaluation,
        maskingNonce: randomBytes(32),
        serverNonce: randomBytes(32),
        dh1,
        dh2,
        dh3,
      });
      for (const secret of [dh1, dh2, dh3, sessionKey]) secret.fill(0);
      const slot = row && { slot: row.slot, generation: row.generation };
      const recoveryId = this.#recoveries.add({
        account,
        slot,
        attemptsRemaining,
        expectedKE3,
        encryptedBackupKey,
      });
      pendingLogins.set(this.#recoveries.size);
      return { recoveryId, KE2, attemptsRemaining };
    });
  }

  /**
   * Gives the attempts back and the encrypted backup key out, when KE3 (32 bytes) proves the password.
   * @throws WrongPassword, UnknownExchange, VaultUnavailable
   */
  async finishRecovery(accountId: string, recoveryId: string, KE3: Uint8Array): Promise<Uint8Array> {
    const recovery = this.#recoveries.take(recoveryId, accountHash(accountId));
    if (!recovery) throw new UnknownExchange('this recovery is not under way; start again');
    return this.#guard(async () => {
      const { account, slot, expectedKE3, encryptedBackupKey, attemptsRemaining } = recovery;
      const proven = KE3.length === expectedKE3.length && timingSafeEqual(KE3, expectedKE3);
      expectedKE3.fill(0);
      if (!proven || !slot) {
        await this.#closeAttempt(recovery);
        throw new WrongPassword(attemptsRemaining);
      }
      await this.#ledger.restore(slot);
      audit('recovered', { account });
      return encryptedBackupKey;
    });
  }

  /** Ends a recovery that the client knows has failed: the attempt stays spent. */
  async abandonRecovery(accountId: string, recoveryId: string): Promise<void> {
    const recovery = this.#recoveries.take(recoveryId, accountHash(accountId));
    if (!recovery) throw new UnknownExchange('this recovery is not under way');
    await this.#guard(() => this.#closeAttempt(recovery));
  }

  async status(accountId: string): Promise<Status> {
    return this.#guard(async () => {
      try {
        const row = await this.#current(accountHash(accountId));
        const now = row && this.#ledger.state(row);
        if (now?.state !== 'live') return { state: 'unregistered' };
        return { state: 'registered', attemptsRemaining: Math.max(0, this.maxAttempts - now.used) };
      } catch (error) {
        if (error instanceof AccountLocked) return { state: 'locked', attemptsRemaining: 0 };
        throw error;
      }
    });
  }

  /** Forgets the account: its key is unreachable for ever. */
  async delete(accountId: string): Promise<void> {
    const account = accountHash(accountId);
    await this.#guard(() =>
      this.#inTurn(account, async () => {
        for (const row of await this.#records.find(account)) {
          if (this.#ledger.state(row).state === 'live' && (await this.#genuine(row)))
            await this.#ledger.retire(row);
          await this.#records.delete(row);
        }
      }),
    );
    audit('deleted', { account });
  }

  async close(): Promise<void> {
    clearTimeout(this.#reloading);
    this.#registrations.close();
    this.#recoveries.close();
    await this.#ledger.close();
    await this.#records.close();
    await this.#token.close();
    this.#fakeSeed.fill(0);
  }

  /** The account's row that the token vouches for and whose slot is its own. @throws AccountLocked */
  async #current(account: string): Promise<Row | undefined> {
    const rows = await this.#records.find(account);
    const row = await this.#live(rows);
    if (!row && rows.some((other) => this.#ledger.state(other).state === 'locked')) throw new AccountLocked();
    return row;
  }

  async #live(rows: Row[]): Promise<Row | undefined> {
    for (const row of rows) {
      if (this.#ledger.state(row).state === 'live' && (await this.#genuine(row))) return row;
    }
    return undefined;
  }

  async #genuine(row: Row): Promise<boolean> {
    const mac = await this.#token.call('hmac', KEY_LABELS.record, macInput(row));
    if (mac.length === row.mac.length && timingSafeEqual(mac, row.mac)) return true;
    tamperedRecords.inc();
    audit('record refused', { account: row.account, slot: row.slot });
    return false;
  }

  #spend(row: Row) {
    try {
      return this.#ledger.spend(row);
    } catch (error) {
      if (error instanceof SlotClosed && error.state === 'locked') throw new AccountLocked();
      throw error;
    }
  }

  #spendPhantom(account: string) {
    const used = this.#phantoms.get(account) ?? 0;
    if (used >= this.maxAttempts) throw new AccountLocked();
    this.#phantoms.delete(account);
    this.#phantoms.set(account, used + 1);
    if (this.#phantoms.size > PHANTOMS) this.#phantoms.delete(this.#phantoms.keys().next().value as string);
    return { attemptsRemaining: this.maxAttempts - used - 1, durable: this.#ledger.spendNothing() };
  }

  /** A record for an account that has none, the same at every request (RFC 9807, section 10.9). */
  #fake(account: string): Credential {
    const derive = (label: string) =>
      createHmac('sha256', this.#fakeSeed).update(`${label} ${account}`).digest();
    const scalar = derive('OprfKey');
    // Above the group's order with probability 2^-32; the top bit keeps the scalar below it.
    scalar[0] = (scalar[0] as number) & 0x7f;
    return {
      key: { scalar },
      record: Buffer.concat([this.serverPublicKey, derive('MaskingKey'), new Uint8Array(64)]),
      encryptedBackupKey: new Uint8Array(0),
    };
  }

  /** An attempt ended without proof. At the limit, once no other attempt is open, the account is locked. */
  async #closeAttempt({ account, slot }: Recovery): Promise<void> {
    pendingLogins.set(this.#recoveries.size);
    if (!slot) return;
    await this.#inTurn(account, async () => {
      const now = this.#ledger.state(slot);
      if (now.state !== 'live' || now.used < this.maxAttempts) return;
      if (this.#recoveries.values().some((open) => open.slot?.slot === slot.slot)) return;
      await this.#lock(account, slot);
    });
  }

  async #lock(account: string, slot: Slot): Promise<void> {
    await this.#ledger.lock(slot);
    await this.#records.scrub({ account, slot: slot.slot });
    lockouts.inc();
    audit('locked', { account });
  }

  /** Ends what a crash left half-way: rows of closed slots, and accounts whose last attempt was under way. */
  async #tidy(): Promise<void> {
    for (const { account, slot, generation } of await this.#records.slots()) {
      const at = { slot, generation };
      const now = this.#ledger.state(at);
      if (now.state === 'locked') await this.#records.scrub({ account, slot });
      else if (now.state === 'dead') await this.#records.delete({ account, slot });
      else if (now.state === 'live' && now.used >= this.maxAttempts) await this.#lock(account, at);
    }
  }

  /** Turns failures of token, ledger and database into {@link VaultUnavailable}. */
  async #guard<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (
        error instanceof AccountLocked ||
        error instanceof WrongPassword ||
        error instanceof UnknownExchange ||
        error instanceof InvalidMessage
      )
        throw error;
      if (error instanceof SlotClosed)
        throw new UnknownExchange('the account changed meanwhile; start again');
      this.#failed(error as Error);
      throw new VaultUnavailable('the vault cannot answer now', { cause: error });
    }
  }

  #failed(error: Error): void {
    log.error('vault failure', { error: error.name, reason: error.message });
    if (this.#ledger.usable || this.#reloading) return;
    this.#reloading = setTimeout(() => {
      this.#reloading = undefined;
      this.#ledger.reload().catch((again) => this.#failed(again as Error));
    }, RETRY_MS).unref();
  }

  /** Changes of one account come one after the other. */
  async #inTurn<T>(account: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(account) ?? Promise.resolve();
    const mine = before.then(work, work);
    this.#turns.set(account, mine);
    try {
      return await mine;
    } finally {
      if (this.#turns.get(account) === mine) this.#turns.delete(account);
    }
  }
}

const credentialOf = (row: Row): Credential => ({
  key: { wrapped: row.wrappedKey, wrappingKey: wrappingKeyLabel(row), publicKey: row.publicKey },
  record: row.registrationRecord,
  encryptedBackupKey: row.encryptedBackupKey,
});

/** An element of a message, 33 bytes, checked and decompressed to 65. @throws InvalidMessage */
function toElement(compressed: Uint8Array): Uint8Array {
  try {
    return decompress(compressed);
  } catch (error) {
    if (error instanceof InvalidPoint) throw new InvalidMessage(error.message);
    throw error;
  }
}
