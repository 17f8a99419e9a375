import { type Kysely, PostgresAdapter } from 'kysely';
import { isOfFirstEdition } from './first-edition.js';

/**
 * Rows are sealed under keys of the token, in one column. Rows of version 0.1 are not taken over (see
 * docs/formats/records.md), but a table without rows is.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const blob = db.getExecutor().adapter instanceof PostgresAdapter ? 'bytea' : 'blob';
  if (await isOfFirstEdition(db)) await db.schema.dropTable('records').execute();
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
