import { type Kysely, PostgresAdapter } from 'kysely';

/** The table of the first edition. That edition had no migrator, so its databases already have the table. */
export async function up(db: Kysely<unknown>): Promise<void> {
  const blob = db.getExecutor().adapter instanceof PostgresAdapter ? 'bytea' : 'blob';
  await db.schema
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
  // This step leaves a table alone if the next step has begun to change it.
  const tables = await db.introspection.getTables();
  if (!tables.some(({ name, columns }) => name === 'records' && columns.some((one) => one.name === 'slot')))
    return;
  await db.schema
    .createIndex('records_slot')
    .ifNotExists()
    .on('records')
    .columns(['slot', 'generation'])
    .execute();
}
