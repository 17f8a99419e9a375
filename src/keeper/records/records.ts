import type { CompiledQuery, Kysely, Selectable } from 'kysely';
import { type Database, open } from './database.js';
import { DatabaseError } from './errors.js';
import { migrate } from './migrations/index.js';
import { LOCKED, type Row } from './row.js';

/** Which vault a database belongs to. */
export interface Binding {
  /** 33 bytes */
  readonly serverPublicKey: Uint8Array;
  /** result of the ledger's `mark()`, 68 bytes */
  readonly mark: Uint8Array;
}

/**
 * The database of registrations. It is not trusted: rows may be old, moved or edited by others. Every method may throw a
 * DatabaseError.
 */
export class Records {
  readonly #db: Kysely<Database>;
  /** compiled once: every recovery asks it */
  readonly #byAccount: CompiledQuery;
  #trouble: string | undefined;

  private constructor(db: Kysely<Database>) {
    this.#db = db;
    this.#byAccount = db.selectFrom('records').selectAll().where('account', '=', '').compile();
  }

  /**
   * @param where path of an SQLite file, or URL of a PostgreSQL database, durable at every commit
   * @throws DatabaseError when it is not durable, or cannot be reached
   */
  static async open(where: string): Promise<Records> {
    return new Records(await open(where));
  }

  /** Why the last query failed; `undefined` if it did not. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  async #ask<T>(query: (db: Kysely<Database>) => Promise<T>): Promise<T> {
    try {
      const result = await query(this.#db);
      this.#trouble = undefined;
      return result;
    } catch (error) {
      const failure = DatabaseError.of(error);
      if (failure instanceof DatabaseError) this.#trouble = failure.message;
      throw failure;
    }
  }

  /**
   * Upgrades the tables to the form that this program knows. The caller must be the only writer.
   */
  prepare(): Promise<void> {
    return this.#ask(migrate);
  }

  /** The rows of cells `first` to `last` in one generation. */
  async inCells(first: number, last: number, generation: number): Promise<Row[]> {
    return this.#ask((db) =>
      db
        .selectFrom('records')
        .selectAll()
        .where('cell', '>=', first)
        .where('cell', '<=', last)
        .where('generation', '=', generation)
        .execute(),
    );
  }

  /** Every row of an account: more than one while a registration is under way, or was cut off, or a fleet's older dealing is not ended yet. */
  async find(account: string): Promise<Row[]> {
    const { rows } = await this.#ask((db) =>
      db.executeQuery<Selectable<Database['records']>>({
        ...this.#byAccount,
        parameters: [account],
      }),
    );
    return rows;
  }

  /** Writes a row, in place of the one that the account had in that cell. */
  async put({ account, cell, generation, sealed }: Row): Promise<void> {
    const content = { generation, sealed: Buffer.from(sealed) };
    await this.#ask((db) =>
      db
        .insertInto('records')
        .values({ account, cell, ...content })
        .onConflict((conflict) => conflict.columns(['account', 'cell']).doUpdateSet(content))
        .execute(),
    );
  }

  /**
   * Writes rows in place of those that have the same account and cell in generation `from`, all or none.
   * @returns how many rows were replaced; a row that is gone, or of another generation, is left as it is
   */
  async replace(rows: readonly Row[], from: number): Promise<number> {
    return this.#ask((db) =>
      db.transaction().execute(async (transaction) => {
        let replaced = 0;
        for (const { account, cell, generation, sealed } of rows) {
          const { numUpdatedRows } = await transaction
            .updateTable('records')
            .set({ generation, sealed: Buffer.from(sealed) })
            .where('account', '=', account)
            .where('cell', '=', cell)
            .where('generation', '=', from)
            .executeTakeFirst();
          replaced += Number(numUpdatedRows);
        }
        return replaced;
      }),
    );
  }

  /**
   * Destroys what the row held. From then on the row says that its account is locked, even if its cell is
   * used again.
   */
  async scrub({ account, cell }: Pick<Row, 'account' | 'cell'>): Promise<void> {
    await this.#ask((db) =>
      db
        .updateTable('records')
        .set({ generation: LOCKED, sealed: Buffer.alloc(0) })
        .where('account', '=', account)
        .where('cell', '=', cell)
        .execute(),
    );
  }

  async delete({ account, cell }: Pick<Row, 'account' | 'cell'>): Promise<void> {
    await this.#ask((db) =>
      db.deleteFrom('records').where('account', '=', account).where('cell', '=', cell).execute(),
    );
  }

  /** Where rows of cells `first` to `last` are. Only an index is read, because there may be many millions of rows. */
  async cells(first: number, last: number): Promise<{ cell: number; generation: number }[]> {
    return this.#ask((db) =>
      db
        .selectFrom('records')
        .select(['cell', 'generation'])
        .where('cell', '>=', first)
        .where('cell', '<=', last)
        .execute(),
    );
  }

  /** How many rows there are, without those that only say that their account is locked. */
  async count(): Promise<number> {
    const { count } = await this.#ask((db) =>
      db
        .selectFrom('records')
        .select(({ fn }) => fn.countAll<number>().as('count'))
        .where('generation', '!=', LOCKED)
        .executeTakeFirstOrThrow(),
    );
    return Number(count);
  }

  /** At most `limit` rows of these generations. */
  async someOf(generations: readonly number[], limit: number): Promise<Row[]> {
    if (generations.length === 0) return [];
    return this.#ask((db) =>
      db.selectFrom('records').selectAll().where('generation', 'in', generations).limit(limit).execute(),
    );
  }

  /** Which vault the database belongs to; `undefined` until {@link bind}. */
  async binding(): Promise<Binding | undefined> {
    const row = await this.#ask((db) => db.selectFrom('vault').selectAll().executeTakeFirst());
    return row && { serverPublicKey: row.server_public_key, mark: row.mark };
  }

  /**
   * Has the database belong to a vault, and remembers how new its ledger is.
   * @param before what {@link binding} said @returns whether that was still so; otherwise nothing has changed
   */
  async bind({ serverPublicKey, mark }: Binding, before?: Binding): Promise<boolean> {
    const content = { server_public_key: Buffer.from(serverPublicKey), mark: Buffer.from(mark) };
    const { numInsertedOrUpdatedRows } = await this.#ask((db) =>
      db
        .insertInto('vault')
        .values({ id: 1, ...content })
        .onConflict((conflict) =>
          before
            ? conflict.column('id').doUpdateSet(content).where('vault.mark', '=', Buffer.from(before.mark))
            : conflict.column('id').doNothing(),
        )
        .executeTakeFirst(),
    );
    return numInsertedOrUpdatedRows === 1n;
  }

  close(): Promise<void> {
    return this.#db.destroy();
  }
}
