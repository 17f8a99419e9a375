import { type Kysely, PostgresAdapter } from 'kysely';

/**
 * Renames the ledger's slots to cells, because slots are PKCS#11's. The database now says which vault it
 * belongs to. SQLite does this without a transaction: a step that was cut off goes on where it stopped.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const blob = db.getExecutor().adapter instanceof PostgresAdapter ? 'bytea' : 'blob';
  const tables = await db.introspection.getTables();
  const records = tables.find(({ name }) => name === 'records');
  await db.schema.dropIndex('records_slot').ifExists().execute();
  if (records?.columns.some(({ name }) => name === 'slot'))
    await db.schema.alterTable('records').renameColumn('slot', 'cell').execute();
  await db.schema
    .createIndex('records_cell')
    .ifNotExists()
    .on('records')
    .columns(['cell', 'generation'])
    .execute();
  await db.schema
    .createTable('vault')
    .ifNotExists()
    .addColumn('id', 'integer', (column) => column.primaryKey())
    .addColumn('server_public_key', blob, (column) => column.notNull())
    .addColumn('mark', blob, (column) => column.notNull())
    .execute();
}
