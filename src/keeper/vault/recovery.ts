import { timingSafeEqual } from 'node:crypto';
import { identities, PLAIN } from '../../protocol/index.js';
import type { Login } from '../elements/index.js';
import { type Attempt, type Cell, CellClosed, type Ledger } from '../ledger/index.js';
import { audit } from '../log/index.js';
import { attempts, pendingLogins } from '../metrics/index.js';
import { KEY_LABELS, type PrivateKey } from '../pkcs11/index.js';
import type { Token } from '../pool/index.js';
import type { OpenRow, Place } from '../records/index.js';
import type { Accounts } from './accounts.js';
import {
  AccountLocked,
  AttemptsUnderWay,
  UnknownExchange,
  VaultUnavailable,
  WrongPassword,
} from './errors.js';
import type { Evaluation } from './evaluation.js';
import { Exchanges, newExchangeId } from './exchanges.js';
import { Finishes, untilDone } from './finishes.js';
import type { Lifecycle } from './lifecycle.js';
import type { Account, Asked } from './names.js';
import type { UnknownAccounts } from './unknown.js';

/** What a login is answered with: an account's row, or a fake one. */
export interface Credential {
  readonly key: PrivateKey;
  /** 129 bytes */
  readonly record: Uint8Array;
  readonly encryptedBackupKey: Uint8Array;
  /** whether the names of account and vault are bound into it; a plain RFC 9807 client's record binds none */
  readonly named: boolean;
}

/** An attempt that was spent, and how many are left if it fails. */
export interface Spent {
  readonly attempt: Attempt;
  readonly attemptsRemaining: number;
}

/** A recovery between its two messages. */
export interface Recovery {
  readonly account: string;
  /** that of the request that began it */
  readonly requestId: string | undefined;
  /** without cells for an unknown account */
  readonly attempt: Attempt;
  readonly attemptsRemaining: number;
  readonly expectedKE3: Uint8Array;
  readonly encryptedBackupKey: Uint8Array;
}

/** What a client that has proven the password is told. */
export interface Recovered {
  readonly encryptedBackupKey: Uint8Array;
  /** attempts that have failed since the previous proof, 0 to 200 */
  readonly failedAttempts: number;
}

/** A recovery whose password was proven. */
interface Proven extends Recovered {
  readonly cell: Cell;
}

/**
 * Puts the row that a login asks for first among an account's live rows. The attempt is spent on the others
 * too.
 * @throws UnknownExchange when it asks for a dealing that is not held
 */
function chosen(rows: readonly OpenRow[], dealing: string): readonly OpenRow[] {
  const row = rows.find((one) => one.dealing === dealing);
  if (!row && dealing !== '') throw new UnknownExchange('this vault holds no share of that dealing');
  return row ? [row, ...rows.filter((other) => other !== row)] : [];
}

/** Logins: an attempt is spent before anything leaves the vault, and a proof gives all attempts back. An attempt for which nothing left is given back too. */
export class Recoveries {
  readonly #token: Token;
  readonly #ledger: Ledger;
  readonly #accounts: Accounts;
  readonly #unknown: UnknownAccounts;
  readonly #lifecycle: Lifecycle;
  readonly #evaluation: Evaluation;
  readonly #serverPublicKey: Uint8Array;
  readonly #finishes: Finishes<Proven>;
  readonly open: Exchanges<Recovery>;

  constructor(
    token: Token,
    ledger: Ledger,
    accounts: Accounts,
    unknown: UnknownAccounts,
    lifecycle: Lifecycle,
    {
      serverPublicKey,
      lifetime,
      evaluation,
    }: { serverPublicKey: Uint8Array; lifetime: number; evaluation: Evaluation },
  ) {
    this.#token = token;
    this.#ledger = ledger;
    this.#accounts = accounts;
    this.#unknown = unknown;
    this.#lifecycle = lifecycle;
    this.#evaluation = evaluation;
    this.#serverPublicKey = serverPublicKey;
    this.open = new Exchanges(lifetime, (recovery) => {
      lifecycle.request(() => this.fail(recovery, 'expired')).catch(() => undefined);
    });
    this.#finishes = new Finishes(lifetime);
  }

  close(): void {
    this.open.close();
    this.#finishes.close();
  }

  /** @throws AccountLocked when no attempt is left; AttemptsUnderWay when the last ones are under way */
  async start(asked: Account, login: Login, dealing: string) {
    const { name: account, subject, requestId } = asked;
    const { row, spent } = await this.#lookUp(asked, dealing);
    const standIn = this.#unknown.credential(account);
    const credential = row ? this.#credentialOf(row) : standIn;
    const { attemptsRemaining } = spent;
    try {
      const { KE2, expectedKE3 } = await this.#answer(subject, login, credential, spent.attempt.durable);
      const { encryptedBackupKey } = credential;
      const recoveryId = newExchangeId();
      this.open.add(recoveryId, { account, requestId, ...spent, expectedKE3, encryptedBackupKey });
      pendingLogins.set(this.open.size);
      return { recoveryId, KE2, attemptsRemaining };
    } catch (error) {
      attempts.inc({ end: 'given back' });
      if (!row) this.#unknown.giveBack(account);
      await this.#ledger.giveBack(spent.attempt).catch(() => undefined);
      throw error;
    }
  }

  /**
   * Finds the row that is asked for, none for an unknown account, and spends the attempt. A refusal leaves once
   * the token holds what it tells.
   */
  async #lookUp(asked: Account, dealing: string): Promise<{ row: OpenRow | undefined; spent: Spent }> {
    const { reading } = this.#ledger;
    try {
      const rows = chosen(await this.#accounts.current(asked), dealing);
      const [row] = rows;
      if (row) return { row, spent: await this.#spend(asked, rows) };
      if (this.#ledger.reading !== reading) throw new VaultUnavailable('the token was read again; try again');
      const isOpen = this.open.of(asked.name).length > 0;
      return { row, spent: this.#unknown.spend(asked.name, isOpen) };
    } catch (error) {
      await this.#ledger.durable(reading);
      throw error;
    }
  }

  #credentialOf(row: OpenRow): Credential {
    return {
      key: { wrapped: row.wrappedKey, publicKey: row.publicKey },
      record: row.registrationRecord,
      encryptedBackupKey: row.encryptedBackupKey,
      named: row.named,
    };
  }

  /**
   * The evaluation is made while the token writes the counter, and leaves only once the token holds the
   * counter.
   */
  async #answer(
    subject: string,
    login: Login,
    { key, record, named }: Credential,
    durable: Promise<unknown>,
  ) {
    const bound = named ? identities(subject, this.#serverPublicKey) : PLAIN;
    const [answer] = await Promise.all([
      this.#evaluation.run(() =>
        this.#token.call('login', key, { label: KEY_LABELS.static }, { ...login, ...bound, record }),
      ),
      durable,
    ]);
    return answer;
  }

  /** @param KE3 32 bytes @throws WrongPassword, UnknownExchange, ExchangeExpired */
  async finish({ name: account, requestId }: Account, id: string, KE3: Uint8Array): Promise<Recovered> {
    const { cell, ...recovered } = await this.#finishes.once(id, account, [KE3], () => {
      const work = this.#judge(this.open.take(id, account), KE3, requestId);
      return untilDone(() => this.#lifecycle.request(work));
    });
    // The account may have been deleted since the first answer.
    if (this.#ledger.state(cell).state !== 'live')
      await this.#lifecycle.durably(async () => {
        if (this.#ledger.state(cell).state !== 'live')
          throw new UnknownExchange('the account changed meanwhile; start again');
      });
    return recovered;
  }

  /** @returns the work to be done, which may be called again if it failed */
  #judge(recovery: Recovery, KE3: Uint8Array, requestId: string | undefined): () => Promise<Proven> {
    const { account, attempt, expectedKE3, encryptedBackupKey, attemptsRemaining } = recovery;
    const isProven = KE3.length === expectedKE3.length && timingSafeEqual(KE3, expectedKE3);
    expectedKE3.fill(0);
    const [cell] = attempt.cells;
    if (isProven && cell)
      return async () => {
        const failedAttempts = await this.#ledger.prove(attempt);
        pendingLogins.set(this.open.size);
        attempts.inc({ end: 'proven' });
        audit('recovered', { account, requestId });
        return { cell, encryptedBackupKey, failedAttempts };
      };
    this.#tellFailed(recovery, 'failed', requestId);
    return async () => {
      await this.#end(recovery, requestId);
      throw new WrongPassword(attemptsRemaining);
    };
  }

  /** An attempt ended without proof. At the limit, once no other attempt is open, the account is locked. */
  async fail(recovery: Recovery, end: 'failed' | 'expired', requestId = recovery.requestId): Promise<void> {
    recovery.expectedKE3.fill(0);
    this.#tellFailed(recovery, end, requestId);
    await this.#end(recovery, requestId);
  }

  #tellFailed({ account, attemptsRemaining }: Recovery, end: string, requestId: string | undefined): void {
    pendingLogins.set(this.open.size);
    attempts.inc({ end });
    audit('attempt failed', { account, attemptsRemaining, requestId });
  }

  #end({ account, attempt }: Recovery, requestId: string | undefined): Promise<void> {
    return this.#accounts.inTurn(account, async () => {
      if (attempt.cells.length === 0 && this.open.of(account).length === 0) await this.#unknown.lock(account);
      for (const cell of await this.#ledger.fail(attempt)) this.#locked({ name: account, requestId }, cell);
    });
  }

  #locked(account: Asked, cell: Cell): void {
    this.#accounts.locked(account, cell, (work) => this.#lifecycle.request(work));
  }

  /** @throws AccountLocked, AttemptsUnderWay */
  async #spend(account: Asked, rows: readonly Place[]): Promise<Spent> {
    try {
      const attempt = this.#ledger.spend(rows);
      return { attempt, attemptsRemaining: attempt.attemptsRemaining };
    } catch (error) {
      if (!(error instanceof CellClosed)) throw error;
      if (error.state === 'locked') throw new AccountLocked();
      if (error.state !== 'exhausted') throw error;
      const [row] = rows as [Place];
      const now = this.#ledger.state(row);
      if (now.state === 'live' && now.open > 0) throw new AttemptsUnderWay();
      // The last attempts were under way when the vault ended, so none of them was proven.
      await this.#ledger.lock(row);
      this.#locked(account, row);
      throw new AccountLocked();
    }
  }
}
