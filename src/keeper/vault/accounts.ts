import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Cell, Ledger } from '../ledger/index.js';
import { audit } from '../log/index.js';
import { lockouts, tamperedRecords } from '../metrics/index.js';
import {
  type Content,
  isLockedRow,
  type OpenRow,
  type Place,
  type Records,
  type Row,
} from '../records/index.js';
import { AccountLocked, VaultUnavailable } from './errors.js';
import type { Asked } from './names.js';
import { Placing } from './placing.js';
import type { Rows } from './rows.js';
import { Turns } from './turns.js';
import type { UnknownAccounts } from './unknown.js';

export type Status =
  | { readonly state: 'unregistered' }
  | {
      readonly state: 'registered';
      /** those of the account's newest key */
      readonly attemptsRemaining: number;
      /** wrong passwords until that key is locked */
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

/** What the vault holds of each account: rows that the token opens, each with a live counter. */
export class Accounts {
  readonly #rows: Rows;
  readonly #ledger: Ledger;
  readonly #records: Records;
  readonly #unknown: UnknownAccounts;
  readonly #turns = new Turns();

  constructor(rows: Rows, ledger: Ledger, records: Records, unknown: UnknownAccounts) {
    this.#rows = rows;
    this.#ledger = ledger;
    this.#records = records;
    this.#unknown = unknown;
  }

  /** Runs the changes of one account one after the other. */
  inTurn<T>(account: string, work: () => Promise<T>): Promise<T> {
    return this.#turns.take(account, work);
  }

  /**
   * The account's live rows.
   * @throws AccountLocked when there are none and one was locked; VaultUnavailable when two are of one dealing
   */
  async current(account: Asked): Promise<OpenRow[]> {
    const rows = await this.#records.find(account.name);
    const live = await this.#live(rows, account.requestId);
    if (live.length > 0) return expectOneOfEach(live, account.requestId);
    // An unknown or locked account costs the opening of a row too.
    await this.#rows.openNone();
    const isLocked = (row: Place) => isLockedRow(row) || this.#ledger.state(row).state === 'locked';
    if (rows.some(isLocked)) throw new AccountLocked();
    // Since these rows were read, a registration may have written its own row and then ended their cells.
    const isNew = ({ cell, generation }: Place) =>
      !rows.some((row) => row.cell === cell && row.generation === generation);
    const replaced = rows.length > 0 && (await this.#records.find(account.name)).some(isNew);
    return replaced ? this.current(account) : [];
  }

  /** The account's live rows, none when it is locked. */
  async live({ name, requestId }: Asked): Promise<OpenRow[]> {
    return this.#live(await this.#records.find(name), requestId);
  }

  /** The rows that this vault wrote and whose cell is live. */
  async #live(rows: readonly Row[], requestId: string | undefined): Promise<OpenRow[]> {
    const isLive = (row: Place) => this.#ledger.state(row).state === 'live';
    const opened: OpenRow[] = [];
    for (const row of rows) {
      const one = isLive(row) ? await this.#rows.open(row, requestId) : undefined;
      if (one) opened.push(one);
    }
    return opened.filter(isLive);
  }

  /** @param picked a cell that was picked for the row */
  place(account: string, content: Content, picked?: Cell): Placing {
    return new Placing(this.#rows, this.#ledger, account, content, picked);
  }

  /**
   * Writes a row and makes its cell live, in place of the account's live rows that it `replaces`. The new
   * cell begins with the attempts spent on the rows that it `inherits` from.
   */
  async store(
    placing: Placing,
    requestId: string | undefined,
    replaces: (old: OpenRow) => boolean,
    inherits: (old: OpenRow) => boolean = () => false,
  ): Promise<void> {
    const row = await placing.take();
    const before = await this.#records.find(row.account);
    const live = await this.#live(before, requestId);
    await this.#records.put(row);
    await this.#ledger.activate(row, { ends: live.filter(replaces), inherits: live.filter(inherits) });
    const ended = before.filter((old) => this.#ledger.state(old).state !== 'live');
    await this.#ledger.durable();
    for (const old of ended) await this.#records.delete(old);
  }

  async status(account: Asked): Promise<Status> {
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

  #held(row: OpenRow): HeldDealing | [] {
    const now = this.#ledger.state(row);
    if (now.state !== 'live') return [];
    const { dealing } = row;
    return { dealing, proven: dealing === '' || now.proven, attemptsRemaining: now.limit - now.used };
  }

  /** Forgets the account: its key is unreachable for ever. */
  delete({ name, requestId }: Asked): Promise<void> {
    return this.inTurn(name, async () => {
      const { reading } = this.#ledger;
      const rows = await this.#records.find(name);
      await this.end(name, await this.#live(rows, requestId));
      await this.#ledger.durable(reading);
      for (const row of rows) await this.#records.delete(row);
    });
  }

  /** Closes the counters of live rows of the account and deletes the rows. */
  async end(account: string, rows: readonly Place[]): Promise<void> {
    this.#unknown.forget(account);
    if (rows.length > 0) await this.#ledger.retire(rows);
    for (const row of rows) await this.#records.delete(row);
  }

  /**
   * Called when the counter of a row was locked: from now on the account is told so.
   * @param scrubbing runs the rest after the answer has left: before the answer, the time that this takes
   * would reveal that the account exists. If it fails, {@link tidy} makes up for it
   */
  locked(
    { name: account, requestId }: Asked,
    { cell }: Cell,
    scrubbing: (work: () => Promise<void>) => Promise<void>,
  ): void {
    setImmediate(() => {
      lockouts.inc();
      audit('locked', { account, requestId });
      scrubbing(() => this.#records.scrub({ account, cell })).catch(() => undefined);
    });
  }

  /**
   * Ends what a crash left half-way: rows of closed cells. There may be many millions of rows, so this runs while the
   * vault serves, and holds up nothing for long.
   * @returns how many live counters have no row: an older copy of the database lacks them
   * @throws the signal's reason when it is aborted
   */
  async tidy(signal: AbortSignal): Promise<number> {
    let missing = 0;
    const { pages } = this.#ledger;
    for (let page = 0; page < pages; page++) missing += await this.#tidyPage(page, signal);
    const beyond = pages === 0 ? 0 : this.#ledger.cellsOf(pages - 1)[1] + 1;
    await this.#tidyCells(beyond, Number.MAX_SAFE_INTEGER, () => undefined);
    return missing;
  }

  /** A row is written before its cell becomes live, and deleted after the cell has ended. What is missing in between is lost. */
  async #tidyPage(page: number, signal: AbortSignal): Promise<number> {
    const [first, last] = this.#ledger.cellsOf(page);
    const before = this.#ledger.liveCells(page);
    const held = new Uint8Array(last - first + 1);
    for (let from = first; from <= last; from += CELLS_AT_ONCE) {
      await nextTurn();
      signal.throwIfAborted();
      await this.#tidyCells(from, Math.min(last, from + CELLS_AT_ONCE - 1), (cell) => {
        held[cell - first] = 1;
      });
    }
    const after = new Set(this.#ledger.liveCells(page));
    return before.filter((cell) => !held[cell - first] && after.has(cell)).length;
  }

  /** @param onLive is called with each cell that is live and has a row */
  async #tidyCells(first: number, last: number, onLive: (cell: number) => void): Promise<void> {
    for (const row of await this.#records.cells(first, last)) {
      const { state } = this.#ledger.state(row);
      if (state === 'live') onLive(row.cell);
      else if (!isLockedRow(row) && (state === 'locked' || state === 'dead')) await this.#endRows(row);
    }
  }

  async #endRows({ cell, generation }: Cell): Promise<void> {
    for (const row of await this.#records.inCells(cell, cell, generation)) await this.endIfEnded(row);
  }

  /**
   * Ends a row whose cell is not live. Runs in the account's turn, because a registration writes its row before its cell
   * is live.
   */
  endIfEnded(row: Row): Promise<void> {
    return this.inTurn(row.account, async () => {
      const { state } = this.#ledger.state(row);
      await this.#ledger.durable();
      if (state === 'locked') await this.#records.scrub(row);
      else if (state !== 'live') await this.#records.delete(row);
    });
  }
}

/** How many cells' rows are read at once when all are. */
const CELLS_AT_ONCE = 4096;

/** Whether a row belongs to the same registration, whatever its cell. */
export const isSame = (
  row: Content,
  content: Pick<Content, 'dealing' | 'publicKey' | 'registrationRecord'>,
): boolean =>
  row.dealing === content.dealing &&
  Buffer.compare(row.publicKey, content.publicKey) === 0 &&
  Buffer.compare(row.registrationRecord, content.registrationRecord) === 0;

/**
 * A cell becomes live in the same change that ends the cells that it replaces. So no crash leaves two live
 * rows of one dealing. If there are two, the older row was hidden from the registration that should have
 * ended it. The next registration ends both.
 */
function expectOneOfEach(rows: OpenRow[], requestId: string | undefined): OpenRow[] {
  const twins = rows.filter((row) => rows.some((other) => other !== row && other.dealing === row.dealing));
  if (twins.length === 0) return rows;
  for (const { account, cell } of twins) {
    tamperedRecords.inc();
    audit('record refused', { account, cell, requestId });
  }
  throw new VaultUnavailable('the database shows a key that was replaced; register again to end both');
}
