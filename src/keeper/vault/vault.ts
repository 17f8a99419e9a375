import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { generateKE2, parseKE1, parseRegistrationRecord } from '../../protocol/index.js';
import {
  Ledger,
  LedgerCorrupt,
  type LedgerStore,
  pageOf,
  type Rotation,
  type Slot,
  SlotClosed,
  wrappingKeyLabel,
} from '../ledger/index.js';
import { accountHash, audit, log } from '../log/index.js';
import {
  attempts,
  lockouts,
  lostRecords,
  pendingLogins,
  tamperedRecords,
  tokenBackup,
  tokenBackupFailures,
} from '../metrics/index.js';
import {
  decompress,
  InvalidPoint,
  KEY_LABELS,
  type PrivateKey,
  type Token,
  TokenError,
} from '../pkcs11/index.js';
import { macInput, type Records, type Row } from '../records/index.js';
import { AccountLocked, InvalidMessage, UnknownExchange, VaultUnavailable, WrongPassword } from './errors.js';
import { Exchanges } from './exchanges.js';
import { type Shredded, shred } from './shredder.js';
import { backUpToken } from './token-backup.js';

/** Bound into every key exchange: a login at one vault protocol cannot be replayed in another. */
export const CONTEXT = Buffer.from('backup-key-vault v1');

export interface VaultOptions {
  /** wrong passwords until the key is unreachable */
  readonly maxAttempts: number;
  /** milliseconds between the two messages of an exchange */
  readonly exchangeLifetime: number;
  /** keeps a backup of the token: called when the vault opens, and whenever its wrapping keys have changed */
  readonly keepBackup?: (backup: string) => Promise<void>;
}

export type Status =
  | { readonly state: 'unregistered' }
  | {
      readonly state: 'registered';
      readonly attemptsRemaining: number;
      /** the fleet's dealings that this vault holds a share of, newest first */
      readonly dealings: readonly string[];
    }
  | { readonly state: 'locked'; readonly attemptsRemaining: 0 };

type Registration = { account: string; slot: Slot; wrappedKey: Uint8Array; publicKey: Uint8Array };
type Recovery = {
  account: string;
  /** the slots an attempt was spent on, the one to be proven first; none for an unknown account */
  slots: readonly Slot[];
  attemptsRemaining: number;
  expectedKE3: Uint8Array;
  encryptedBackupKey: Uint8Array;
};
type Credential = { key: PrivateKey; record: Uint8Array; encryptedBackupKey: Uint8Array };

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

/** Unknown accounts whose attempts are counted, so that they end as known ones do. */
const PHANTOMS = 65_536;
const OPEN_EXCHANGES = 100_000;
/** As long as what vouches for a row. */
const NO_ROW = new Uint8Array(480);
/** Waits before the token is read again, milliseconds; the last one stays. */
const RETRY_MS = [500, 1000, 5000, 10_000, 30_000];

/** The ledger's home in a token. */
export const ledgerStore = (token: Token): LedgerStore => ({
  replaceData: (label, value, superseded, writer) =>
    token.call('replaceData', label, value, superseded, writer),
  destroyData: (handle) => token.call('destroyData', handle),
  listData: (prefix) => token.call('listData', prefix),
  refresh: () => token.refresh(),
  generateWrappingKey: (label) => token.generateWrappingKey(label),
  destroyWrappingKey: (label) => token.destroyWrappingKey(label),
  listWrappingKeys: (prefix) => token.listWrappingKeys(prefix),
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
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #closing = new AbortController();
  readonly #keepBackup: VaultOptions['keepBackup'];
  #sweep: Promise<unknown> = Promise.resolve();
  /** the token being opened anew: requests wait for it */
  #renewing: Promise<void> | undefined;
  #renewalDue = false;
  #reloading: NodeJS.Timeout | undefined;
  #retries = 0;
  #fence: () => void = () => undefined;
  /** resolves when another daemon has taken the token's ledger over: this vault answers no more */
  readonly fenced = new Promise<void>((resolve) => {
    this.#fence = resolve;
  });
  /** the vault's identity, which clients pin: 33 bytes */
  readonly serverPublicKey: Uint8Array;
  /** what shares are wrapped for, pinned too: RSA, SubjectPublicKeyInfo */
  readonly transportPublicKey: Uint8Array;
  readonly maxAttempts: number;

  private constructor(
    token: Token,
    ledger: Ledger,
    records: Records,
    { serverPublicKey, transportPublicKey }: { serverPublicKey: Uint8Array; transportPublicKey: Uint8Array },
    fakeSeed: Uint8Array,
    options: VaultOptions,
  ) {
    this.#token = token;
    this.#ledger = ledger;
    this.#records = records;
    this.serverPublicKey = serverPublicKey;
    this.transportPublicKey = transportPublicKey;
    this.#fakeSeed = fakeSeed;
    this.maxAttempts = options.maxAttempts;
    this.#keepBackup = options.keepBackup;
    this.#registrations = new Exchanges(options.exchangeLifetime, OPEN_EXCHANGES, ({ slot }) =>
      ledger.release(slot),
    );
    this.#recoveries = new Exchanges(options.exchangeLifetime, OPEN_EXCHANGES, (recovery) => {
      this.#guard(() => this.#closeAttempt(recovery, 'expired')).catch(() => undefined);
    });
  }

  /**
   * Opens a vault over an open token and database, which outlive it.
   * @throws LedgerCorrupt when the counters in the token are not whole; TokenError
   */
  static async open(token: Token, records: Records, options: VaultOptions): Promise<Vault> {
    let changed = async (): Promise<void> => undefined;
    const store = ledgerStore(token);
    const generateWrappingKey = (label: string) => store.generateWrappingKey(label).then(() => changed());
    const destroyWrappingKey = (label: string) => store.destroyWrappingKey(label).then(() => changed());
    const ledger = await Ledger.open(
      { ...store, generateWrappingKey, destroyWrappingKey },
      options.maxAttempts,
    );
    const serverPublicKey = await token.call('publicKey', KEY_LABELS.static);
    const transportPublicKey = await token.call('transportPublicKey');
    const fakeSeed = await token.call('hmac', KEY_LABELS.fake, Buffer.from('bkv fake records v1'));
    const vault = new Vault(
      token,
      ledger,
      records,
      { serverPublicKey, transportPublicKey },
      fakeSeed,
      options,
    );
    await vault.#tidy();
    changed = () => vault.keepBackup();
    await changed();
    token.onReopen(() => vault.#reload(new TokenError('the token was lost', 'BKV_AWAY')));
    return vault;
  }

  /** Why no attempt could be counted now; `undefined` when one could. */
  get trouble(): string | undefined {
    if (this.#renewing) return undefined;
    if (this.#token.state === 'refused') return 'the token refuses the PIN';
    if (this.#token.state !== 'up') return 'the token is away';
    return this.#ledger.usable ? undefined : 'the retry counters cannot be written to the token';
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
    const row = { account, dealing: '', wrappedKey, publicKey, registrationRecord, encryptedBackupKey };
    await this.#guard(() => this.#inTurn(account, () => this.#store({ ...row, ...slot }, () => true)));
    audit('registered', { account });
  }

  /**
   * Keeps a share of a fleet's key beside the account's older dealings, until {@link commitDealing} ends those. Sent
   * again, it replaces itself.
   * @throws InvalidMessage when the share is not one for this token, or is not that of its public key
   */
  async registerShare(accountId: string, share: ShareRegistration): Promise<void> {
    const account = accountHash(accountId);
    const { dealing, registrationRecord, encryptedBackupKey } = share;
    const publicKey = toElement(share.sharePublicKey);
    const clientPublicKey = toElement(parseRegistrationRecord(registrationRecord).clientPublicKey);
    await this.#guard(() =>
      this.#inTurn(account, async () => {
        const held = new Set((await this.#allLive(account)).map((row) => row.dealing)).add(dealing);
        if (held.size > MAX_DEALINGS)
          throw new InvalidMessage(
            'too many registrations of this account were cut off; recover or delete it',
          );
        const slot = await this.#ledger.pick();
        let reserved = false;
        try {
          const wrappingKey = wrappingKeyLabel(slot);
          const wrappedKey = await this.#token
            .call('importWrapped', share.transportKey, share.wrappedShare, wrappingKey)
            .catch((error) => Promise.reject(refused(error, /CKR_(WRAPPED|UNWRAPPING|ENCRYPTED|GENERAL)/)));
          // An evaluation that ends on the curve proves that the share is the public key's.
          await this.#token
            .call('multiply', { wrapped: wrappedKey, wrappingKey, publicKey }, clientPublicKey)
            .catch((error) => Promise.reject(refused(error, /BKV_KEY_PAIR/)));
          const row = { account, dealing, wrappedKey, publicKey, registrationRecord, encryptedBackupKey };
          reserved = true;
          await this.#store({ ...row, ...slot }, (old) => old.dealing === dealing);
        } finally {
          if (!reserved) this.#ledger.release(slot);
        }
      }),
    );
    audit('share registered', { account, dealing });
  }

  /** Ends every other dealing of the account. @throws UnknownExchange when this one is not held */
  async commitDealing(accountId: string, dealing: string): Promise<void> {
    const account = accountHash(accountId);
    await this.#guard(() =>
      this.#inTurn(account, async () => {
        const rows = await this.#allLive(account);
        if (!rows.some((row) => row.dealing === dealing))
          throw new UnknownExchange('this vault holds no share of that dealing');
        const over = rows.filter((row) => row.dealing !== dealing);
        if (over.length > 0) await this.#ledger.retire(...over);
        for (const old of over) await this.#records.delete(old);
      }),
    );
    audit('dealing committed', { account, dealing });
  }

  /** Writes a row and makes its slot live, in place of the account's live rows that it `replaces`. */
  async #store(row: Omit<Row, 'mac'>, replaces: (old: Row) => boolean): Promise<void> {
    const { account } = row;
    const mac = await this.#token.call('hmac', KEY_LABELS.record, macInput(row));
    await this.#ledger.reserve(row);
    const before = await this.#records.find(account);
    const previous = (await this.#live(before)).filter(replaces);
    await this.#records.put({ ...row, mac });
    await this.#ledger.activate(row, previous);
    for (const old of before) {
      if (this.#ledger.state(old).state !== 'live') await this.#records.delete(old);
    }
    this.#phantoms.delete(account);
  }

  /**
   * Spends an attempt and answers the client's KE1. An unknown account is answered like a known one.
   * @param KE1 98 bytes
   * @param dealing of a fleet's shares which one; each attempt is spent on all that the account has here
   * @returns an id, KE2 (259 bytes), and the attempts left should this one fail
   * @throws AccountLocked when no attempt is left; InvalidMessage; VaultUnavailable
   */
  async startRecovery(accountId: string, KE1: Uint8Array, dealing = '') {
    const account = accountHash(accountId);
    const message = parseKE1(KE1);
    const blindedElement = toElement(message.blindedElement);
    const clientKeyshare = toElement(message.clientKeyshare);
    return this.#guard(async () => {
      const fake = this.#fake(account);
      const rows = await this.#current(account);
      const row = rows.find((one) => one.dealing === dealing);
      const { key, record, encryptedBackupKey } = row ? credentialOf(row) : fake;
      const spentOn = row ? [row, ...rows.filter((other) => other !== row)] : [];
      const { attemptsRemaining, durable } = row ? this.#spend(spentOn) : this.#spendPhantom(account);
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
      const recoveryId = this.#recoveries.add({
        account,
        slots: spentOn.map(({ slot, generation }) => ({ slot, generation })),
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
      const { account, slots, expectedKE3, encryptedBackupKey, attemptsRemaining } = recovery;
      const [slot] = slots;
      const proven = KE3.length === expectedKE3.length && timingSafeEqual(KE3, expectedKE3);
      expectedKE3.fill(0);
      if (!proven || !slot) {
        await this.#closeAttempt(recovery, 'failed');
        throw new WrongPassword(attemptsRemaining);
      }
      await this.#ledger.restore(slot);
      attempts.inc({ end: 'proven' });
      audit('recovered', { account });
      return encryptedBackupKey;
    });
  }

  /** Ends a recovery that the client knows has failed: the attempt stays spent. */
  async abandonRecovery(accountId: string, recoveryId: string): Promise<void> {
    const recovery = this.#recoveries.take(recoveryId, accountHash(accountId));
    if (!recovery) throw new UnknownExchange('this recovery is not under way');
    await this.#guard(() => this.#closeAttempt(recovery, 'failed'));
  }

  async status(accountId: string): Promise<Status> {
    return this.#guard(async () => {
      try {
        const rows = await this.#current(accountHash(accountId));
        const [newest] = rows.sort((a, b) => (a.dealing < b.dealing ? 1 : -1));
        const now = newest && this.#ledger.state(newest);
        if (now?.state !== 'live') return { state: 'unregistered' };
        return {
          state: 'registered',
          attemptsRemaining: Math.max(0, this.maxAttempts - now.used),
          dealings: rows.flatMap(({ dealing }) => dealing || []),
        };
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
        const rows = await this.#records.find(account);
        const live = await this.#live(rows);
        if (live.length > 0) await this.#ledger.retire(...live);
        for (const row of rows) await this.#records.delete(row);
      }),
    );
    audit('deleted', { account });
  }

  /**
   * Gives pages a fresh wrapping key and destroys the old one, while serving: those on which an account has ended, or
   * all. One sweep runs at a time.
   * @param abandonLost also the pages with lost records, whose accounts then end
   * @throws VaultUnavailable
   */
  shred(
    { all = false, abandonLost = false }: { all?: boolean; abandonLost?: boolean },
    report: (page: Shredded) => void = () => undefined,
  ): Promise<void> {
    const sweep = async () => {
      const vault = {
        token: this.#token,
        ledger: this.#ledger,
        records: this.#records,
        genuine: (row: Row) => this.#genuine(row),
        inTurn: <T>(account: string, work: () => Promise<T>) => this.#inTurn(account, work),
        holds: (rotation: Rotation) => this.#holds(rotation),
        settled: () => Promise.allSettled(this.#underWay),
        signal: this.#closing.signal,
      };
      const pages = all ? Array.from({ length: this.#ledger.pages }, (_, i) => i) : this.#ledger.unshredded();
      let lost = 0;
      for (const page of pages) {
        const shredded = await this.#translated(() => shred(vault, page, abandonLost));
        if (!shredded.done) lost += shredded.lost;
        report(shredded);
      }
      lostRecords.set(lost);
    };
    const mine = this.#sweep.then(sweep);
    this.#sweep = mine.catch(() => undefined);
    return mine;
  }

  /**
   * A backup of the token, for the backup token that it was made with: see docs/operator.md.
   * @throws TokenBackupError when it has none
   */
  backUp(): Promise<string> {
    return backUpToken(this.#token, this.#ledger);
  }

  /** Has a fresh backup of the token kept, where one is wanted. A failure is told, and stops nothing. */
  async keepBackup(): Promise<void> {
    if (!this.#keepBackup) return;
    try {
      await this.#keepBackup(await this.backUp());
      tokenBackup.setToCurrentTime();
    } catch (error) {
      tokenBackupFailures.inc();
      log.error('the backup of the token could not be kept', { reason: (error as Error).message });
    }
  }

  #holds({ page, from }: Rotation): boolean {
    const of = ({ slot, generation }: Slot) => generation === from && pageOf(slot) === page;
    return (
      this.#registrations.values().some(({ slot }) => of(slot)) ||
      this.#recoveries.values().some(({ slots }) => slots.some(of))
    );
  }

  async close(): Promise<void> {
    this.#closing.abort(new VaultUnavailable('the vault is closing'));
    await this.#sweep;
    clearTimeout(this.#reloading);
    this.#registrations.close();
    this.#recoveries.close();
    await this.#ledger.close();
    this.#token.onReopen(() => undefined);
    this.#fakeSeed.fill(0);
  }

  /** The account's live rows. @throws AccountLocked when there are none and one was locked */
  async #current(account: string): Promise<Row[]> {
    const rows = await this.#records.find(account);
    const live = await this.#live(rows);
    if (live.length > 0) return live;
    // An unknown or locked account costs the check of a row too.
    await this.#token.call('hmac', KEY_LABELS.record, NO_ROW);
    if (rows.some((other) => this.#ledger.state(other).state === 'locked')) throw new AccountLocked();
    // A registration may have ended their slots since they were read, and put a row of its own before that.
    const isNew = ({ slot, generation }: Row) =>
      !rows.some((row) => row.slot === slot && row.generation === generation);
    const replaced = rows.length > 0 && (await this.#records.find(account)).some(isNew);
    return replaced ? this.#current(account) : [];
  }

  async #allLive(account: string): Promise<Row[]> {
    return this.#live(await this.#records.find(account));
  }

  /** Those rows that the token vouches for and whose slot is their own. */
  async #live(rows: readonly Row[]): Promise<Row[]> {
    const isLive = (row: Row) => this.#ledger.state(row).state === 'live';
    const genuine: Row[] = [];
    for (const row of rows) if (isLive(row) && (await this.#genuine(row))) genuine.push(row);
    return genuine.filter(isLive);
  }

  async #genuine(row: Row): Promise<boolean> {
    const mac = await this.#token.call('hmac', KEY_LABELS.record, macInput(row));
    if (mac.length === row.mac.length && timingSafeEqual(mac, row.mac)) return true;
    tamperedRecords.inc();
    audit('record refused', { account: row.account, slot: row.slot });
    return false;
  }

  #spend([row, ...others]: readonly Row[]) {
    try {
      const spent = this.#ledger.spend(row as Row);
      const alsoDurable = others.flatMap((other) => {
        const now = this.#ledger.state(other);
        return now.state === 'live' && now.used < this.maxAttempts ? this.#ledger.spend(other).durable : [];
      });
      return { ...spent, durable: Promise.all([spent.durable, ...alsoDurable]) };
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
  async #closeAttempt(
    { account, slots, attemptsRemaining }: Recovery,
    end: 'failed' | 'expired',
  ): Promise<void> {
    pendingLogins.set(this.#recoveries.size);
    attempts.inc({ end });
    audit('attempt failed', { account, attemptsRemaining });
    await this.#inTurn(account, async () => {
      const open = this.#recoveries.of(account);
      if (slots.length === 0 && open.length === 0) await this.#lockPhantom(account);
      for (const slot of slots) {
        const now = this.#ledger.state(slot);
        const isOpen = open.some((other) => other.slots.some((one) => one.slot === slot.slot));
        if (now.state === 'live' && now.used >= this.maxAttempts && !isOpen) await this.#lock(account, slot);
      }
    });
  }

  async #lock(account: string, slot: Slot): Promise<void> {
    await this.#ledger.lock(slot);
    // The rest after the answer, whose time would tell of it. A scrub that is lost is made up for by #tidy.
    setImmediate(() => {
      lockouts.inc();
      audit('locked', { account });
      this.#guard(() => this.#records.scrub({ account, slot: slot.slot })).catch(() => undefined);
    });
  }

  /** Takes as long as {@link #lock}. */
  async #lockPhantom(account: string): Promise<void> {
    if ((this.#phantoms.get(account) ?? 0) >= this.maxAttempts) await this.#ledger.spendNothing();
  }

  /** Ends what a crash left half-way: rows of closed slots, and accounts whose last attempt was under way. */
  async #tidy(): Promise<void> {
    const held = await this.#records.slots();
    if (held.length > 0 && this.#ledger.pages === 0)
      throw new LedgerCorrupt(
        `the token has no counters, but the database has ${held.length} records: start a new vault with an empty database`,
      );
    for (const { account, slot, generation } of held) {
      const at = { slot, generation };
      const now = this.#ledger.state(at);
      if (now.state === 'locked') await this.#records.scrub({ account, slot });
      else if (now.state === 'dead') await this.#records.delete({ account, slot });
      else if (now.state === 'live' && now.used >= this.maxAttempts) await this.#lock(account, at);
    }
  }

  /** A request's work, known to be under way until it ends. */
  async #guard<T>(work: () => Promise<T>): Promise<T> {
    while (this.#renewing) await this.#renewing;
    const done = this.#translated(work);
    this.#underWay.add(done);
    try {
      return await done;
    } finally {
      this.#underWay.delete(done);
      if (this.#token.worn) this.#renew();
    }
  }

  /** Turns failures of token, ledger and database into {@link VaultUnavailable}. */
  async #translated<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (
        error instanceof AccountLocked ||
        error instanceof WrongPassword ||
        error instanceof UnknownExchange ||
        error instanceof InvalidMessage ||
        error instanceof VaultUnavailable
      )
        throw error;
      if (error instanceof SlotClosed)
        throw new UnknownExchange('the account changed meanwhile; start again');
      this.#failed(error as Error);
      throw new VaultUnavailable('the vault cannot answer now', { cause: error });
    }
  }

  /** Has the token opened anew between two requests, not during a sweep. */
  #renew(): void {
    if (this.#renewalDue || this.#closing.signal.aborted) return;
    this.#renewalDue = true;
    this.#sweep = this.#sweep.then(async () => {
      this.#renewing = Promise.allSettled(this.#underWay).then(() =>
        this.#reload(new TokenError('it is opened anew', 'BKV_AWAY')),
      );
      await this.#renewing;
      this.#renewing = undefined;
      this.#renewalDue = false;
      log.info('token opened anew');
    });
  }

  #failed(error: Error): void {
    log.error('vault failure', { error: error.name, reason: error.message });
    if (this.#ledger.fenced) this.#fence();
    // A token that is away says when it is back.
    else if (!this.#ledger.usable && this.#token.state === 'up' && !this.#closing.signal.aborted)
      this.#reloading ??= setTimeout(
        () => this.#reload(),
        RETRY_MS[Math.min(this.#retries++, RETRY_MS.length - 1)],
      ).unref();
  }

  /** Never rejects: it is tried again later. */
  #reload(reason?: Error): Promise<void> {
    clearTimeout(this.#reloading);
    this.#reloading = undefined;
    return this.#ledger
      .reload(reason)
      .then(async () => {
        const publicKey = await this.#token.call('publicKey', KEY_LABELS.static);
        if (!timingSafeEqual(publicKey, this.serverPublicKey))
          throw new TokenError('the token that came back is another one', 'BKV_TOKEN');
        this.#retries = 0;
      })
      .catch((error: Error) => {
        this.#token.leave(error);
        this.#failed(error);
      });
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

/** The client's fault, when the token's answer says so; else the error as it is. */
const refused = (error: Error, codes: RegExp): Error =>
  error instanceof TokenError && codes.test(`${error.reason} ${error.message}`)
    ? new InvalidMessage('the share is not wrapped for this token, or is not that of its public key')
    : error;

/** An element of a message, 33 bytes, checked and decompressed to 65. @throws InvalidMessage */
function toElement(compressed: Uint8Array): Uint8Array {
  try {
    return decompress(compressed);
  } catch (error) {
    if (error instanceof InvalidPoint) throw new InvalidMessage(error.message);
    throw error;
  }
}
