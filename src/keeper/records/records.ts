import type { CompiledQuery, Kysely, Selectable } from 'kysely';
import { type Database, open } from './database.js';
import { migrate } from './migrations/index.js';

/** One registration. Byte lengths: wrappedKey 80, publicKey 65, registrationRecord 129, mac 32. */
export interface Row {
  /** hash of the account id */
  readonly account: string;
  /** where its counter lies in the token's ledger */
  readonly cell: number;
  /** of the page key that it is under; 0 when the account is locked: then the row holds nothing else */
  readonly generation: number;
  /** which dealing of shares the key belongs to, 32 hexadecimal digits; empty for a key made in this token */
  readonly dealing: string;
  /** whether account and vault are bound into the registration; not for a plain client of RFC 9807 */
  readonly named: boolean;
  readonly wrappedKey: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly registrationRecord: Uint8Array;
  /** the backup key, encrypted by the client under a key that only the password opens */
  readonly encryptedBackupKey: Uint8Array;
  /** the token's HMAC over all of the above */
  readonly mac: Uint8Array;
}

/** Which vault a database belongs to. */
export interface Binding {
  /** 33 bytes */
  readonly serverPublicKey: Uint8Array;
  /** what the ledger's `mark()` gave, 68 bytes */
  readonly mark: Uint8Array;
}

/** A row's generation when its account is locked. */
const LOCKED = 0;
export const isLockedRow = ({ generation }: Pick<Row, 'generation'>): boolean => generation === LOCKED;

/** What the token vouches for: every field of a row, each with its length, so that none can be moved or edited. */
export function macInput(row: Omit<Row, 'mac'>): Uint8Array {
  const fields = [
    Buffer.from('bkv record v1'),
    Buffer.from(row.account),
    Buffer.from(`${row.cell}.${row.generation}`),
    Buffer.from(row.dealing),
    Buffer.of(row.named ? 1 : 0),
    row.wrappedKey,
    row.publicKey,
    row.registrationRecord,
    row.encryptedBackupKey,
  ];
  return Buffer.concat(
    fields.flatMap((field) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(field.length);
      return [length, field];
    }),
  );
}

/** The database of registrations. It is not trusted: rows may be old, moved or edited by others. */
export class Records {
  readonly #db: Kysely<Database>;
  /** compiled once: every recovery asks it */
  readonly #byAccount: CompiledQuery;

  private constructor(db: Kysely<Database>) {
    this.#db = db;
    this.#byAccount = db.selectFrom('records').selectAll().where('account', '=', '').compile();
  }

  /**
   * @param where path of an SQLite file, or URL of a PostgreSQL database, durable at every commit
   * @throws DatabaseError when it is not, or cannot be reached
   */
  static async open(where: string): Promise<Records> {
    return new Records(await open(where));
  }

  /** Brings the tables into the form that this program knows. Call it as the only writer. @throws DatabaseError */
  prepare(): Promise<void> {
    return migrate(this.#db);
  }

  /** The rows of cells `first` to `last` in one generation. */
  async inCells(first: number, last: number, generation: number): Promise<Row[]> {
    const rows = await this.#db
      .selectFrom('records')
      .selectAll()
      .where('cell', '>=', first)
      .where('cell', '<=', last)
      .where('generation', '=', generation)
      .execute();
    return rows.map(toRow);
  }

  /** Every row of an account: more than one while a registration is under way, or was cut off, or a fleet's older dealing is not ended yet. */
  async find(account: string): Promise<Row[]> {
    const { rows } = await this.#db.executeQuery<Selectable<Database['records']>>({
      ...this.#byAccount,
      parameters: [account],
    });
    return rows.map(toRow);
  }

  /** Writes a row, in place of the one that the account had in that cell. */
  async put(row: Row): Promise<void> {
    const content = {
      generation: row.generation,
      dealing: row.dealing,
      named: row.named ? 1 : 0,
      wrapped_key: Buffer.from(row.wrappedKey),
      public_key: Buffer.from(row.publicKey),
      registration_record: Buffer.from(row.registrationRecord),
      encrypted_backup_key: Buffer.from(row.encryptedBackupKey),
      mac: Buffer.from(row.mac),
    };
    await this.#db
      .insertInto('records')
      .values({ account: row.account, cell: row.cell, ...content })
      .onConflict((conflict) => conflict.columns(['account', 'cell']).doUpdateSet(content))
      .execute();
  }

  /** Destroys what the row held and has it say that its account is locked, whoever has its cell later. */
  async scrub({ account, cell }: Pick<Row, 'account' | 'cell'>): Promise<void> {
    const nothing = Buffer.alloc(0);
    await this.#db
      .updateTable('records')
      .set({
        generation: LOCKED,
        wrapped_key: nothing,
        public_key: nothing,
        registration_record: nothing,
        encrypted_backup_key: nothing,
        mac: nothing,
      })
      .where('account', '=', account)
      .where('cell', '=', cell)
      .execute();
  }

  async delete({ account, cell }: Pick<Row, 'account' | 'cell'>): Promise<void> {
    await this.#db.deleteFrom('records').where('account', '=', account).where('cell', '=', cell).execute();
  }

  /** Account, cell and generation of every row. */
  async cells(): Promise<{ account: string; cell: number; generation: number }[]> {
    return this.#db.selectFrom('records').select(['account', 'cell', 'generation']).execute();
  }

  /** Which vault the database belongs to; `undefined` until {@link bind}. */
  async binding(): Promise<Binding | undefined> {
    const row = await this.#db.selectFrom('vault').selectAll().executeTakeFirst();
    return row && { serverPublicKey: row.server_public_key, mark: row.mark };
  }

  /** Has the database belong to a vault, and remembers how new its ledger is. */
  async bind({ serverPublicKey, mark }: Binding): Promise<void> {
    const content = { server_public_key: Buffer.from(serverPublicKey), mark: Buffer.from(mark) };
    await this.#db
      .insertInto('vault')
      .values({ id: 1, ...content })
      .onConflict((conflict) => conflict.column('id').doUpdateSet(content))
      .execute();
  }

  close(): Promise<void> {
    return this.#db.destroy();
  }
}

const toRow = (row: Selectable<Database['records']>): Row => ({
  account: row.account,
  cell: row.cell,
  generation: row.generation,
  dealing: row.dealing,
  named: row.named === 1,
  wrappedKey: row.wrapped_key,
  publicKey: row.public_key,
  registrationRecord: row.registration_record,
  encryptedBackupKey: row.encrypted_backup_key,
  mac: row.mac,
});
