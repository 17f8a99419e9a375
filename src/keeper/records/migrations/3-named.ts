import type { Kysely } from 'kysely';

/** Each registration says whether account and vault are bound into it. */
export async function up(db: Kysely<unknown>): Promise<void> {
  const tables = await db.introspection.getTables();
  const records = tables.find(({ name }) => name === 'records');
  if (records?.columns.some(({ name }) => name === 'named')) return;
  await db.schema
    .alterTable('records')
    .addColumn('named', 'smallint', (column) => column.notNull().defaultTo(1))
    .execute();
}
