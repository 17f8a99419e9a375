import { DEFAULT_MIGRATION_TABLE, type Kysely, type Migration, Migrator, sql } from 'kysely';
import type { Database } from '../database.js';
import { DatabaseError, NewerDatabase } from '../errors.js';
import * as records from './1-records.js';
import * as cells from './2-cells.js';
import * as named from './3-named.js';
import * as sealed from './4-sealed.js';
import { isOfFirstEdition } from './first-edition.js';

/** In the order of their names; a name that was ever released stays. */
const MIGRATIONS: Record<string, Migration> = {
  '1 records': records,
  '2 cells': cells,
  '3 named': named,
  '4 sealed': sealed,
};

/**
 * Upgrades the tables of a database from any older form to the one that this program knows.
 * @throws NewerDatabase; OlderDatabase; DatabaseError when a step fails: then the tables are as before it
 */
export async function migrate(db: Kysely<Database>): Promise<void> {
  // Before the first step, so that a refused database stays as it is for the program that wrote it.
  await isOfFirstEdition(db);
  await assertKnown(db);
  const migrator = new Migrator({ db, provider: { getMigrations: async () => MIGRATIONS } });
  const { error } = await migrator.migrateToLatest();
  if (!error) return;
  const { message } = error as Error;
  throw new DatabaseError(`the tables of the database cannot be brought up to date: ${message}`);
}

/** @throws NewerDatabase when a step was taken that this program does not know */
async function assertKnown(db: Kysely<Database>): Promise<void> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true });
  if (!tables.some(({ name }) => name === DEFAULT_MIGRATION_TABLE)) return;
  const { rows } = await sql<{
    name: string;
  }>`SELECT name FROM ${sql.table(DEFAULT_MIGRATION_TABLE)}`.execute(db);
  const unknown = rows.find(({ name }) => !Object.hasOwn(MIGRATIONS, name));
  if (unknown) throw new NewerDatabase(`its form is "${unknown.name}"`);
}
