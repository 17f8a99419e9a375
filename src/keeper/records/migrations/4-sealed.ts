import { type Kysely, PostgresAdapter, sql } from 'kysely';
import { DatabaseError } from '../errors.js';

const OLD = 'wrapped_key';

/**
 * Rows are sealed under keys of the token, in one column. What older versions wrote was under wrapping keys that a token
 * of this version does not have, so that only a table without rows can be taken over.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const blob = db.getExecutor().adapter instanceof PostgresAdapter ? 'bytea' : 'blob';
  const records = (await db.introspection.getTables()).find(({ name }) => name === 'records');
  if (records?.columns.some(({ name }) => name === OLD)) {
    const { rows } = await sql<{ count: unknown }>`SELECT count(*) AS count FROM records`.execute(db);
    if (Number(rows[0]?.count) > 0)
      throw new DatabaseError(
        'it has records of the first edition, which opened by keys that the token does not have any more: name a new database for a new token',
      );
    await db.schema.dropTable('records').execute();
  }
  await db.schema
    .createTable('records')
    .ifNotExists()
    .addColumn('account', 'text', (column) => column.notNull())
    .addColumn('cell', 'bigint', (column) => column.notNull())
    .addColumn('generation', 'bigint', (column) => column.notNull())
    .addColumn('sealed', blob, (column) => column.notNull())
    .addPrimaryKeyConstraint('records_key', ['account', 'cell'])
    .execute();
  await db.schema
    .createIndex('records_cell')
    .ifNotExists()
    .on('records')
    .columns(['cell', 'generation'])
    .execute();
}
