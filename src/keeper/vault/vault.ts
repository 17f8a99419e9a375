import type { Login } from '../elements/index.js';
import type { Cell, Rotation } from '../ledger/index.js';
import { audit } from '../log/index.js';
import type { Token } from '../pool/index.js';
import type { Records } from '../records/index.js';
import type { Status } from './accounts.js';
import type { ShareFinish, ShareRequest } from './dealings.js';
import { drain } from './drain.js';
import { checkLogin } from './elements.js';
import type { Account, AccountId } from './names.js';
import { closeParts, openParts, type Parts, type VaultOptions } from './opening.js';
import type { Recovered } from './recovery.js';
import type { RegistrationFinish, RegistrationRequest } from './registration.js';
import type { Shreddable, Shredded } from './shredder.js';
import { backUpToken } from './token-backup.js';
import { type ShredOptions, sweep } from './upkeep.js';

/**
 * One vault: it holds backup keys that open with a password, counts the wrong passwords in its token, and knows
 * neither key nor password. Accounts are named as the caller's identity provider names them.
 */
export class Vault {
  readonly #parts: Parts;

  private constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * Opens a vault over an open token and database, which outlive it.
   * @throws LedgerCorrupt when the counters in the token are not whole; TokenError
   */
  static async open(token: Token, records: Records, options: VaultOptions): Promise<Vault> {
    return new Vault(await openParts(token, records, options));
  }

  /** The vault's identity, which clients pin: 33 bytes. */
  get serverPublicKey(): Uint8Array {
    return this.#parts.serverPublicKey;
  }

  /** Seconds that the vault waits for the second message of an exchange. */
  get exchangeSeconds(): number {
    return this.#parts.registrations.open.lifetime / 1000;
  }

  get maxAttempts(): number {
    return this.#parts.ledger.limit;
  }

  /** Why nobody could recover now; `undefined` when somebody could. */
  get trouble(): string | undefined {
    const { lifecycle, evaluation, records } = this.#parts;
    if (lifecycle.trouble) return lifecycle.trouble;
    if (!evaluation.works) return 'the token does not evaluate';
    return records.trouble && `the database fails (${records.trouble})`;
  }

  /** Resolves when another daemon has taken the token's ledger over. This vault then no longer answers. */
  get fenced(): Promise<void> {
    return this.#parts.lifecycle.fenced;
  }

  /** How new the retry counters are, to be kept outside the token; `undefined` while that is not known. */
  async mark(): Promise<Uint8Array | undefined> {
    return this.#parts.ledger.usable ? this.#parts.ledger.mark() : undefined;
  }

  /** The account's name in database and logs, 64 hexadecimal digits. */
  nameOf(id: AccountId): string {
    return this.#parts.names.of(id);
  }

  /**
   * @returns an id, evaluatedElement ‖ serverPublicKey (66 bytes), the wrong passwords until a lock, and for a client
   * that sent a key share the start MAC (32 bytes)
   * @throws InvalidMessage, VaultUnavailable
   */
  startRegistration(id: AccountId, request: RegistrationRequest) {
    return this.#parts.lifecycle.first(() => this.#parts.registrations.start(this.#account(id), request));
  }

  /**
   * Replaces what the account had, if the message says so. When this resolves, token and database hold the
   * registration. If it is cut off before, the account's older registration still works. The same message,
   * sent again while an exchange lives, gets the same answer; after VaultUnavailable it is tried again.
   * @throws KeyExists, InvalidMessage, UnknownExchange, ExchangeExpired, VaultUnavailable
   */
  async finishRegistration(id: AccountId, message: RegistrationFinish): Promise<void> {
    const account = this.#account(id);
    await this.#parts.registrations.finish(account, message);
    audit('registered', { account: account.name, requestId: id.requestId });
  }

  /**
   * @returns an id, the key E that the share travels under (33 bytes), the wrong passwords until a lock, and the start
   * MAC (32 bytes)
   * @throws InvalidMessage, VaultUnavailable
   */
  startShare(id: AccountId, request: ShareRequest) {
    return this.#parts.lifecycle.first(() => this.#parts.dealings.start(this.#account(id), request));
  }

  /**
   * Keeps a share of a fleet's key beside the account's older dealings, until {@link commitDealing} ends
   * those. The same message, sent again while an exchange lives, gets the same answer; after VaultUnavailable
   * it is tried again.
   * @throws InvalidMessage when the share does not belong to this registration, or does not match its public
   * key
   * @throws UnknownExchange, ExchangeExpired, DealingConflict, AttemptsUnderWay, VaultUnavailable
   */
  async finishShare(id: AccountId, share: ShareFinish): Promise<void> {
    await this.#parts.dealings.finish(this.#account(id), share);
  }

  /**
   * Ends every other dealing of the account.
   * @throws UnknownExchange when this one is not held, DealingConflict when nobody has proven a password against it
   */
  async commitDealing(id: AccountId, dealing: string): Promise<void> {
    const account = this.#account(id);
    await this.#parts.lifecycle.durably(() => this.#parts.dealings.commit(account, dealing));
    audit('dealing committed', { account: account.name, dealing, requestId: id.requestId });
  }

  /**
   * Ends a dealing that was cut off before anybody proved a password against it.
   * @throws UnknownExchange when it is not held, DealingConflict when it was proven
   */
  async withdrawDealing(id: AccountId, dealing: string): Promise<void> {
    const account = this.#account(id);
    await this.#parts.lifecycle.durably(() => this.#parts.dealings.withdraw(account, dealing));
    audit('dealing withdrawn', { account: account.name, dealing, requestId: id.requestId });
  }

  /**
   * Spends an attempt and answers the client's KE1. An unknown account is answered like a known one.
   * @param login KE1 as `readLogin` reads it
   * @param dealing which of a fleet's dealings is asked for; each attempt is spent on all keys that the
   * account has here
   * @returns an id, KE2 (259 bytes), and how many attempts are left if this one fails
   * @throws AccountLocked when no attempt is left; InvalidMessage; VaultUnavailable
   */
  async startRecovery(id: AccountId, login: Login, dealing = '') {
    checkLogin(login);
    return this.#parts.lifecycle.first(() => this.#parts.recoveries.start(this.#account(id), login, dealing));
  }

  /**
   * If KE3 (32 bytes) proves the password, gives the attempts back and returns the encrypted backup key. The
   * same message, sent again while an exchange lives, gets the same answer; after VaultUnavailable it is
   * tried again. Neither the proof nor the attempt is lost meanwhile, unless the vault ends before the token
   * can be written to.
   * @throws WrongPassword, UnknownExchange, ExchangeExpired, VaultUnavailable
   */
  async finishRecovery(id: AccountId, recoveryId: string, KE3: Uint8Array): Promise<Recovered> {
    return this.#parts.recoveries.finish(this.#account(id), recoveryId, KE3);
  }

  /** Ends a recovery that the client knows has failed: the attempt stays spent. @throws UnknownExchange */
  async abandonRecovery(id: AccountId, recoveryId: string): Promise<void> {
    const recovery = this.#parts.recoveries.open.take(recoveryId, this.nameOf(id));
    await this.#parts.lifecycle.request(() => this.#parts.recoveries.fail(recovery, 'failed', id.requestId));
  }

  status(id: AccountId): Promise<Status> {
    return this.#parts.lifecycle.durably(() => this.#parts.accounts.status(this.#account(id)));
  }

  /** Forgets the account: its key is unreachable for ever. */
  async delete(id: AccountId): Promise<void> {
    const account = this.#account(id);
    await this.#parts.lifecycle.durably(() => this.#parts.accounts.delete(account));
    audit('deleted', { account: account.name, requestId: id.requestId });
  }

  /**
   * Gives pages a fresh key and destroys the old one, while serving: the pages on which an account has ended,
   * or all.
   * @throws VaultUnavailable
   */
  shred(options: ShredOptions = {}, report: (page: Shredded) => void = () => undefined): Promise<void> {
    const shreddable: Shreddable = {
      rows: this.#parts.rows,
      ledger: this.#parts.ledger,
      records: this.#parts.records,
      endIfEnded: (row) => this.#parts.accounts.endIfEnded(row),
      holds: (rotation) => this.#holds(rotation),
      settled: () => this.#parts.lifecycle.settled(),
      signal: this.#parts.lifecycle.signal,
    };
    return sweep(this.#parts.lifecycle, shreddable, options, report);
  }

  /**
   * A backup of the token, for the backup token that it was made with: see docs/operator.md.
   * @throws TokenBackupError when it has none
   */
  backUp(): Promise<string> {
    return backUpToken(this.#parts.token, this.#parts.ledger);
  }

  /** Keeps a fresh backup of the token, if one is wanted. A failure is reported, and stops nothing. */
  keepBackup(): Promise<void> {
    return this.#parts.keepBackup();
  }

  /**
   * Begins no more exchanges, and waits for those that are open: see {@link drain}. @param hurry ends the
   * wait
   */
  drain(hurry: AbortSignal): Promise<void> {
    const drained = {
      lifecycle: this.#parts.lifecycle,
      ledger: this.#parts.ledger,
      recoveries: this.#parts.recoveries.open,
      registrations: [this.#parts.registrations.open, this.#parts.dealings.open],
    };
    return drain(drained, hurry);
  }

  close(): Promise<void> {
    return closeParts(this.#parts);
  }

  #account(id: AccountId): Account {
    return { name: this.nameOf(id), subject: id.subject, requestId: id.requestId };
  }

  #holds({ page, from }: Rotation): boolean {
    const of = ({ cell, generation }: Cell) =>
      generation === from && this.#parts.ledger.pageOf(cell) === page;
    return (
      this.#parts.registrations.open.values().some(({ cell }) => of(cell)) ||
      this.#parts.recoveries.open.values().some(({ attempt }) => attempt.cells.some(of))
    );
  }
}
