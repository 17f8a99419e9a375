import { type Kysely, sql } from 'kysely';
import { OlderDatabase } from '../errors.js';

/** A column that the table of version 0.1 had. */
const COLUMN = 'wrapped_key';

/** Whether the table is that of version 0.1. @throws OlderDatabase when it has rows, which nothing of this version opens */
export async function isOfFirstEdition<T>(db: Kysely<T>): Promise<boolean> {
  const records = (await db.introspection.getTables()).find(({ name }) => name === 'records');
  if (!records?.columns.some(({ name }) => name === COLUMN)) return false;
  const { rows } = await sql<{ count: unknown }>`SELECT count(*) AS count FROM records`.execute(db);
  if (Number(rows[0]?.count) > 0) throw new OlderDatabase();
  return true;
}
