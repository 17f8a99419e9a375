import { timingSafeEqual } from 'node:crypto';
import type { Cell, Ledger } from '../ledger/index.js';
import { audit } from '../log/index.js';
import { lockouts, tamperedRecords } from '../metrics/index.js';
import { KEY_LABELS, type Token } from '../pkcs11/index.js';
import { isLockedRow, macInput, type Records, type Row } from '../records/index.js';
import { AccountLocked } from './errors.js';
import { Turns } from './turns.js';

export type Status =
  | { readonly state: 'unregistered' }
  | {
      readonly state: 'registered';
      /** of the newest of its keys */
      readonly attemptsRemaining: number;
      /** wrong passwords until that is locked */
      readonly maxAttempts: number;
      /** all of its keys, newest first */
      readonly dealings: readonly HeldDealing[];
    }
  | { readonly state: 'locked'; readonly attemptsRemaining: 0 };

/** A key that the account has here. */
export interface HeldDealing {
  /** 32 hexadecimal digits; empty for a key of the vault's own */
  readonly dealing: string;
  /** whether a password was proven against it here */
  readonly proven: boolean;
  readonly attemptsRemaining: number;
}

/** As long as what vouches for a row. */
const NO_ROW = new Uint8Array(480);

/** Whether the token's HMAC over a row is the one that the row carries. */
export async function isVouchedFor(token: Token, row: Row): Promise<boolean> {
  const mac = await token.call('hmac', KEY_LABELS.record, macInput(row));
  return mac.length === row.mac.length && timingSafeEqual(mac, row.mac);
}

/** What the vault holds of each account: rows that the token vouches for, each with a live counter. */
export class Accounts {
  readonly #token: Token;
  readonly #ledger: Ledger;
  readonly #records: Records;
  readonly #turns = new Turns();

  constructor(token: Token, ledger: Ledger, records: Records) {
    this.#token = token;
    this.#ledger = ledger;
    this.#records = records;
  }

  /** Changes of one account come one after the other. */
  inTurn<T>(account: string, work: () => Promise<T>): Promise<T> {
    return this.#turns.take(account, work);
  }

  /** The account's live rows. @throws AccountLocked when there are none and one was locked */
  async current(account: string): Promise<Row[]> {
    const rows = await this.#records.find(account);
    const live = await this.#live(rows);
    if (live.length > 0) return live;
    // An unknown or locked account costs the check of a row too.
    await this.#token.call('hmac', KEY_LABELS.record, NO_ROW);
    const isLocked = (row: Row) => isLockedRow(row) || this.#ledger.state(row).state === 'locked';
    if (rows.some(isLocked)) throw new AccountLocked();
    // A registration may have ended their cells since they were read, and put a row of its own before that.
    const isNew = ({ cell, generation }: Row) =>
      !rows.some((row) => row.cell === cell && row.generation === generation);
    const replaced = rows.length > 0 && (await this.#records.find(account)).some(isNew);
    return replaced ? this.current(account) : [];
  }

  /** The account's live rows, none when it is locked. */
  async live(account: string): Promise<Row[]> {
    return this.#live(await this.#records.find(account));
  }

  /** Those rows that the token vouches for and whose cell is their own. */
  async #live(rows: readonly Row[]): Promise<Row[]> {
    const isLive = (row: Row) => this.#ledger.state(row).state === 'live';
    const genuine: Row[] = [];
    for (const row of rows) if (isLive(row) && (await this.genuine(row))) genuine.push(row);
    return genuine.filter(isLive);
  }

  /** Whether the token vouches for a row; one for which it does not is counted and audited. */
  async genuine(row: Row): Promise<boolean> {
    if (await isVouchedFor(this.#token, row)) return true;
    tamperedRecords.inc();
    audit('record refused', { account: row.account, cell: row.cell });
    return false;
  }

  /**
   * Writes a row and makes its cell live, in place of the account's live rows that it `replaces`. It begins with the
   * attempts spent on those that it `inherits` from.
   */
  async store(
    row: Omit<Row, 'mac'>,
    replaces: (old: Row) => boolean,
    inherits: (old: Row) => boolean = () => false,
  ): Promise<void> {
    const mac = await this.#token.call('hmac', KEY_LABELS.record, macInput(row));
    await this.#ledger.reserve(row);
    const before = await this.#records.find(row.account);
    const live = await this.#live(before);
    await this.#records.put({ ...row, mac });
    await this.#ledger.activate(row, { ends: live.filter(replaces), inherits: live.filter(inherits) });
    for (const old of before) {
      if (this.#ledger.state(old).state !== 'live') await this.#records.delete(old);
    }
  }

  async status(account: string): Promise<Status> {
    try {
      const rows = await this.current(account);
      const [newest] = rows.sort((a, b) => (a.dealing < b.dealing ? 1 : -1));
      const now = newest && this.#ledger.state(newest);
      if (now?.state !== 'live') return { state: 'unregistered' };
      return {
        state: 'registered',
        attemptsRemaining: now.limit - now.used,
        maxAttempts: now.limit,
        dealings: rows.flatMap((row) => this.#held(row)),
      };
    } catch (error) {
      if (error instanceof AccountLocked) return { state: 'locked', attemptsRemaining: 0 };
      throw error;
    }
  }

  #held(row: Row): HeldDealing | [] {
    const now = this.#ledger.state(row);
    if (now.state !== 'live') return [];
    const { dealing } = row;
    return { dealing, proven: dealing === '' || now.proven, attemptsRemaining: now.limit - now.used };
  }

  /** Forgets the account: its key is unreachable for ever. */
  delete(account: string): Promise<void> {
    return this.inTurn(account, async () => {
      const rows = await this.#records.find(account);
      await this.end(await this.#live(rows));
      for (const row of rows) await this.#records.delete(row);
    });
  }

  /** Closes the counters of live rows and deletes the rows. */
  async end(rows: readonly Row[]): Promise<void> {
    if (rows.length > 0) await this.#ledger.retire(...rows);
    for (const row of rows) await this.#records.delete(row);
  }

  /**
   * The counter of a row was locked: its account is told so from now on.
   * @param scrubbing runs what is left to do after the answer, whose time would tell of it; its failure is made up for by
   * {@link tidy}
   */
  locked(account: string, { cell }: Cell, scrubbing: (work: () => Promise<void>) => Promise<void>): void {
    setImmediate(() => {
      lockouts.inc();
      audit('locked', { account });
      scrubbing(() => this.#records.scrub({ account, cell })).catch(() => undefined);
    });
  }

  /** Ends what a crash left half-way: rows of closed cells. */
  async tidy(): Promise<void> {
    for (const row of await this.#records.cells()) {
      if (isLockedRow(row)) continue;
      const { state } = this.#ledger.state(row);
      if (state === 'locked') await this.#records.scrub(row);
      else if (state === 'dead') await this.#records.delete(row);
    }
  }
}
