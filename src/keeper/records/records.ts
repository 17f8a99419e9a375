import { type CompiledQuery, type Kysely, PostgresAdapter, type Selectable } from 'kysely';
import { type Database, open } from './database.js';

/** One registration. Byte lengths: wrappedKey 80, publicKey 65, registrationRecord 129, mac 32. */
export interface Row {
  /** hash of the account id */
  readonly account: string;
  readonly slot: number;
  readonly generation: number;
  /** which dealing of shares the key belongs to, 32 hexadecimal digits; empty for a key made in this token */
  readonly dealing: string;
  readonly wrappedKey: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly registrationRecord: Uint8Array;
  /** the backup key, encrypted by the client under a key that only the password opens */
  readonly encryptedBackupKey: Uint8Array;
  /** the token's HMAC over all of the above */
  readonly mac: Uint8Array;
}

/** What the token vouches for: every field of a row, each with its length, so that none can be moved or edited. */
export function macInput(row: Omit<Row, 'mac'>): Uint8Array {
  const fields = [
    Buffer.from('bkv record v1'),
    Buffer.from(row.account),
    Buffer.from(`${row.slot}.${row.generation}`),
    Buffer.from(row.dealing),
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

  /** Makes the table where there is none. Call it as the only writer. */
  async prepare(): Promise<void> {
    const blob = this.#db.getExecutor().adapter instanceof PostgresAdapter ? 'bytea' : 'blob';
    await this.#db.schema
      .createTable('records')
      .ifNotExists()
      .addColumn('account', 'text', (column) => column.notNull())
      .addColumn('slot', 'bigint', (column) => column.notNull())
      .addColumn('generation', 'bigint', (column) => column.notNull())
      .addColumn('dealing', 'text', (column) => column.notNull())
      .addColumn('wrapped_key', blob, (column) => column.notNull())
      .addColumn('public_key', blob, (column) => column.notNull())
      .addColumn('registration_record', blob, (column) => column.notNull())
      .addColumn('encrypted_backup_key', blob, (column) => column.notNull())
      .addColumn('mac', blob, (column) => column.notNull())
      .addPrimaryKeyConstraint('records_key', ['account', 'slot'])
      .execute();
    await this.#db.schema
      .createIndex('records_slot')
      .ifNotExists()
      .on('records')
      .columns(['slot', 'generation'])
      .execute();
  }

  /** The rows of slots `first` to `last` in one generation. */
  async inSlots(first: number, last: number, generation: number): Promise<Row[]> {
    const rows = await this.#db
      .selectFrom('records')
      .selectAll()
      .where('slot', '>=', first)
      .where('slot', '<=', last)
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

  /** Writes a row, in place of the one that the account had in that slot. */
  async put(row: Row): Promise<void> {
    const content = {
      generation: row.generation,
      dealing: row.dealing,
      wrapped_key: Buffer.from(row.wrappedKey),
      public_key: Buffer.from(row.publicKey),
      registration_record: Buffer.from(row.registrationRecord),
      encrypted_backup_key: Buffer.from(row.encryptedBackupKey),
      mac: Buffer.from(row.mac),
    };
    await this.#db
      .insertInto('records')
      .values({ account: row.account, slot: row.slot, ...content })
      .onConflict((conflict) => conflict.columns(['account', 'slot']).doUpdateSet(content))
      .execute();
  }

  /** Destroys what the row held and leaves its account and slot, to tell a locked account from an unknown one. */
  async scrub({ account, slot }: Pick<Row, 'account' | 'slot'>): Promise<void> {
    const nothing = Buffer.alloc(0);
    await this.#db
      .updateTable('records')
      .set({
        wrapped_key: nothing,
        public_key: nothing,
        registration_record: nothing,
        encrypted_backup_key: nothing,
        mac: nothing,
      })
      .where('account', '=', account)
      .where('slot', '=', slot)
      .execute();
  }

  async delete({ account, slot }: Pick<Row, 'account' | 'slot'>): Promise<void> {
    await this.#db.deleteFrom('records').where('account', '=', account).where('slot', '=', slot).execute();
  }

  /** Account, slot and generation of every row. */
  async slots(): Promise<{ account: string; slot: number; generation: number }[]> {
    return this.#db.selectFrom('records').select(['account', 'slot', 'generation']).execute();
  }

  close(): Promise<void> {
    return this.#db.destroy();
  }
}

const toRow = (row: Selectable<Database['records']>): Row => ({
  account: row.account,
  slot: row.slot,
  generation: row.generation,
  dealing: row.dealing,
  wrappedKey: row.wrapped_key,
  publicKey: row.public_key,
  registrationRecord: row.registration_record,
  encryptedBackupKey: row.encrypted_backup_key,
  mac: row.mac,
});
