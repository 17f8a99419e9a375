import { type Cell, type KeptMark, Ledger, type Rotation, tokenStore } from '../ledger/index.js';
import { audit } from '../log/index.js';
import { KEY_LABELS } from '../pkcs11/index.js';
import type { Token } from '../pool/index.js';
import type { Records } from '../records/index.js';
import { Accounts, type Status } from './accounts.js';
import { knownMark, Marks } from './binding.js';
import { Dealings, type ShareFinish, type ShareRequest } from './dealings.js';
import { drain } from './drain.js';
import { Evaluation } from './evaluation.js';
import { KeyAgreement } from './key-agreement.js';
import { Lifecycle } from './lifecycle.js';
import { type Account, type AccountId, AccountNames } from './names.js';
import { type Recovered, Recoveries, readLogin } from './recovery.js';
import { type RegistrationFinish, type RegistrationRequest, Registrations } from './registration.js';
import { Rows } from './rows.js';
import type { Shreddable, Shredded } from './shredder.js';
import { backUpToken } from './token-backup.js';
import { UnknownAccounts } from './unknown.js';
import { keepBackup, type ShredOptions, sweep, tellLost } from './upkeep.js';

export interface VaultOptions {
  /** wrong passwords until the key is unreachable */
  readonly maxAttempts: number;
  /** bytes that a data object of the token holds at most; 4,096 unless told */
  readonly objectBytes?: number;
  /** milliseconds between the two messages of an exchange */
  readonly exchangeLifetime: number;
  /** what {@link Vault.mark} gave, as it is kept elsewhere than in the database */
  readonly marks?: readonly KeptMark[];
  /** keeps a backup of the token: called when the vault opens, and whenever its wrapping keys have changed */
  readonly keepBackup?: (backup: string) => Promise<void>;
}

/** What the token says of itself when the vault opens. */
interface Identity {
  readonly serverPublicKey: Uint8Array;
  readonly fakeSeed: Uint8Array;
  readonly namesKey: Uint8Array;
}

/**
 * One vault: it holds backup keys that open with a password, counts the wrong passwords in its token, and knows
 * neither key nor password. Accounts are named as the caller's identity provider names them.
 */
export class Vault {
  readonly #token: Token;
  readonly #ledger: Ledger;
  readonly #records: Records;
  readonly #keepBackup: VaultOptions['keepBackup'];
  readonly #lifecycle: Lifecycle;
  readonly #rows: Rows;
  readonly #accounts: Accounts;
  readonly #names: AccountNames;
  readonly #unknown: UnknownAccounts;
  readonly #registrations: Registrations;
  readonly #recoveries: Recoveries;
  readonly #evaluation: Evaluation;
  readonly #dealings: Dealings;
  readonly #marks: Marks;
  /** the vault's identity, which clients pin: 33 bytes */
  readonly serverPublicKey: Uint8Array;

  private constructor(
    token: Token,
    ledger: Ledger,
    records: Records,
    { serverPublicKey, fakeSeed, namesKey }: Identity,
    options: VaultOptions,
  ) {
    this.#token = token;
    this.#ledger = ledger;
    this.#records = records;
    this.#keepBackup = options.keepBackup;
    this.serverPublicKey = serverPublicKey;
    const lifetime = options.exchangeLifetime;
    const lifecycle = new Lifecycle(token, ledger, serverPublicKey);
    const rows = new Rows(token, ledger);
    const accounts = new Accounts(rows, ledger, records);
    this.#rows = rows;
    const unknown = new UnknownAccounts(ledger, serverPublicKey, fakeSeed);
    this.#lifecycle = lifecycle;
    this.#accounts = accounts;
    this.#unknown = unknown;
    this.#names = new AccountNames(namesKey);
    const agreement = new KeyAgreement(token, serverPublicKey);
    this.#registrations = new Registrations(token, ledger, accounts, agreement, lifecycle, {
      serverPublicKey,
      lifetime,
    });
    this.#dealings = new Dealings(token, ledger, accounts, agreement, lifecycle, lifetime);
    this.#marks = new Marks(ledger, records, serverPublicKey);
    this.#evaluation = new Evaluation(token);
    this.#recoveries = new Recoveries(token, ledger, accounts, unknown, lifecycle, {
      serverPublicKey,
      lifetime,
      evaluation: this.#evaluation,
    });
  }

  /**
   * Opens a vault over an open token and database, which outlive it.
   * @throws LedgerCorrupt when the counters in the token are not whole; TokenError
   */
  static async open(token: Token, records: Records, options: VaultOptions): Promise<Vault> {
    let changed = async (): Promise<void> => undefined;
    const store = tokenStore(token);
    const generatePageKey = (label: string) => store.generatePageKey(label).then(() => changed());
    const destroyPageKey = (label: string) => store.destroyPageKey(label).then(() => changed());
    const serverPublicKey = await token.call('publicKey', KEY_LABELS.static);
    const known = await knownMark(token, records, { serverPublicKey, limit: options.maxAttempts });
    const ledger = await Ledger.open(
      { ...store, generatePageKey, destroyPageKey },
      {
        limit: options.maxAttempts,
        marks: [...(known ? [known] : []), ...(options.marks ?? [])],
        ...(options.objectBytes !== undefined && { objectBytes: options.objectBytes }),
      },
    );
    const identity = {
      serverPublicKey,
      fakeSeed: await token.call('hmac', KEY_LABELS.fake, Buffer.from('bkv fake records v1')),
      namesKey: await token.call('hmac', KEY_LABELS.names, Buffer.from('bkv account names 2')),
    };
    const vault = new Vault(token, ledger, records, identity, options);
    await vault.#marks.keep();
    tellLost(await vault.#accounts.tidy());
    changed = () => vault.keepBackup();
    await changed();
    vault.#lifecycle.watch();
    return vault;
  }

  /** Seconds that the second message of an exchange is waited for. */
  get exchangeSeconds(): number {
    return this.#registrations.open.lifetime / 1000;
  }

  get maxAttempts(): number {
    return this.#ledger.limit;
  }

  /** Why nobody could recover now; `undefined` when somebody could. */
  get trouble(): string | undefined {
    return this.#lifecycle.trouble ?? (this.#evaluation.works ? undefined : 'the token does not evaluate');
  }

  /** Resolves when another daemon has taken the token's ledger over: this vault answers no more. */
  get fenced(): Promise<void> {
    return this.#lifecycle.fenced;
  }

  /** How new the retry counters are, to be kept where it outlives the token; `undefined` while that is not known. */
  async mark(): Promise<Uint8Array | undefined> {
    return this.#ledger.usable ? this.#ledger.mark() : undefined;
  }

  /** What the account is called in database and logs: 64 hexadecimal digits. */
  nameOf(id: AccountId): string {
    return this.#names.of(id);
  }

  /**
   * @returns an id, evaluatedElement ‖ serverPublicKey (66 bytes), the wrong passwords until a lock, and for a client
   * that sent a key share the start MAC (32 bytes)
   * @throws InvalidMessage, VaultUnavailable
   */
  startRegistration(id: AccountId, request: RegistrationRequest) {
    return this.#lifecycle.first(() => this.#registrations.start(this.#account(id), request));
  }

  /**
   * Replaces what the account had, where the message says so. When this resolves, token and database hold the registration; cut off before,
   * the account's older one still works. The same message again is answered the same for as long as an exchange lives; after
   * VaultUnavailable it is tried anew.
   * @throws KeyExists, InvalidMessage, UnknownExchange, ExchangeExpired, VaultUnavailable
   */
  async finishRegistration(id: AccountId, message: RegistrationFinish): Promise<void> {
    const account = this.#account(id);
    await this.#registrations.finish(account, message);
    this.#unknown.forget(account.name);
    audit('registered', { account: account.name, requestId: id.requestId });
  }

  /**
   * @returns an id, the key E that the share travels under (33 bytes), the wrong passwords until a lock, and the start
   * MAC (32 bytes)
   * @throws InvalidMessage, VaultUnavailable
   */
  startShare(id: AccountId, request: ShareRequest) {
    return this.#lifecycle.first(() => this.#dealings.start(this.#account(id), request));
  }

  /**
   * Keeps a share of a fleet's key beside the account's older dealings, until {@link commitDealing} ends those. The same
   * message again is answered the same for as long as an exchange lives; after VaultUnavailable it is tried anew.
   * @throws InvalidMessage when the share is not one for this registration, or is not that of its public key
   * @throws UnknownExchange, ExchangeExpired, DealingConflict, AttemptsUnderWay, VaultUnavailable
   */
  async finishShare(id: AccountId, share: ShareFinish): Promise<void> {
    const account = this.#account(id);
    await this.#dealings.finish(account, share);
    this.#unknown.forget(account.name);
  }

  /**
   * Ends every other dealing of the account.
   * @throws UnknownExchange when this one is not held, DealingConflict when nobody has proven a password against it
   */
  async commitDealing(id: AccountId, dealing: string): Promise<void> {
    const account = this.#account(id);
    await this.#lifecycle.request(() => this.#dealings.commit(account, dealing));
    audit('dealing committed', { account: account.name, dealing, requestId: id.requestId });
  }

  /**
   * Ends a dealing that was cut off before anybody proved a password against it.
   * @throws UnknownExchange when it is not held, DealingConflict when it was proven
   */
  async withdrawDealing(id: AccountId, dealing: string): Promise<void> {
    const account = this.#account(id);
    await this.#lifecycle.request(() => this.#dealings.withdraw(account, dealing));
    audit('dealing withdrawn', { account: account.name, dealing, requestId: id.requestId });
  }

  /**
   * Spends an attempt and answers the client's KE1. An unknown account is answered like a known one.
   * @param KE1 98 bytes
   * @param dealing of a fleet's shares which one; each attempt is spent on all that the account has here
   * @returns an id, KE2 (259 bytes), and the attempts left should this one fail
   * @throws AccountLocked when no attempt is left; InvalidMessage; VaultUnavailable
   */
  async startRecovery(id: AccountId, KE1: Uint8Array, dealing = '') {
    const login = readLogin(KE1);
    return this.#lifecycle.first(() => this.#recoveries.start(this.#account(id), login, dealing));
  }

  /**
   * Gives the attempts back and the encrypted backup key out, when KE3 (32 bytes) proves the password. The same message
   * again is answered the same for as long as an exchange lives; after VaultUnavailable it is tried anew. A proof is not
   * lost meanwhile, nor the attempt, unless the vault ends before the token can be written to.
   * @throws WrongPassword, UnknownExchange, ExchangeExpired, VaultUnavailable
   */
  async finishRecovery(id: AccountId, recoveryId: string, KE3: Uint8Array): Promise<Recovered> {
    return this.#recoveries.finish(this.#account(id), recoveryId, KE3);
  }

  /** Ends a recovery that the client knows has failed: the attempt stays spent. @throws UnknownExchange */
  async abandonRecovery(id: AccountId, recoveryId: string): Promise<void> {
    const recovery = this.#recoveries.open.take(recoveryId, this.nameOf(id));
    await this.#lifecycle.request(() => this.#recoveries.fail(recovery, 'failed', id.requestId));
  }

  status(id: AccountId): Promise<Status> {
    return this.#lifecycle.request(() => this.#accounts.status(this.#account(id)));
  }

  /** Forgets the account: its key is unreachable for ever. */
  async delete(id: AccountId): Promise<void> {
    const account = this.#account(id);
    await this.#lifecycle.request(() => this.#accounts.delete(account));
    audit('deleted', { account: account.name, requestId: id.requestId });
  }

  /**
   * Gives pages a fresh wrapping key and destroys the old one, while serving: those on which an account has ended, or
   * all.
   * @throws VaultUnavailable
   */
  shred(options: ShredOptions = {}, report: (page: Shredded) => void = () => undefined): Promise<void> {
    const shreddable: Shreddable = {
      rows: this.#rows,
      ledger: this.#ledger,
      records: this.#records,
      inTurn: (account, work) => this.#accounts.inTurn(account, work),
      holds: (rotation) => this.#holds(rotation),
      settled: () => this.#lifecycle.settled(),
      signal: this.#lifecycle.signal,
    };
    return sweep(this.#lifecycle, shreddable, options, report);
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
    if (this.#keepBackup) await keepBackup(() => this.backUp(), this.#keepBackup);
  }

  /** Begins no exchange any more, and waits for those that are open: see {@link drain}. @param hurry ends the wait */
  drain(hurry: AbortSignal): Promise<void> {
    const drained = {
      lifecycle: this.#lifecycle,
      ledger: this.#ledger,
      recoveries: this.#recoveries.open,
      registrations: [this.#registrations.open, this.#dealings.open],
    };
    return drain(drained, hurry);
  }

  async close(): Promise<void> {
    this.#evaluation.close();
    await this.#lifecycle.close();
    this.#registrations.close();
    this.#dealings.close();
    this.#recoveries.close();
    await this.#ledger.close();
    await this.#marks.close();
    this.#unknown.close();
    this.#names.close();
  }

  #account(id: AccountId): Account {
    return { name: this.nameOf(id), subject: id.subject, requestId: id.requestId };
  }

  #holds({ page, from }: Rotation): boolean {
    const of = ({ cell, generation }: Cell) => generation === from && this.#ledger.pageOf(cell) === page;
    return (
      this.#registrations.open.values().some(({ cell }) => of(cell)) ||
      this.#recoveries.open.values().some(({ attempt }) => attempt.cells.some(of))
    );
  }
}
