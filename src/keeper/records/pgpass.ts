import { existsSync, readFileSync } from 'node:fs';
import { inHome, whoElseReads } from '../../process/index.js';
import { DatabaseError } from './errors.js';

/** Where a connection goes. */
export interface Target {
  readonly host: string;
  readonly port: number;
  readonly database?: string | null;
  readonly user?: string | null;
}

/**
 * The password of a connection, from the file that PGPASSFILE names or `~/.pgpass` (PostgreSQL, "The Password
 * File").
 * @returns undefined when no line matches @throws DatabaseError when others can read the file
 */
export function passwordOf({ host, port, database, user }: Target): string | undefined {
  const path = process.env.PGPASSFILE ?? inHome('.pgpass');
  if (path === undefined || !existsSync(path)) return undefined;
  const others = whoElseReads(path);
  if (others)
    throw new DatabaseError(
      `${path}: others can read this password file (${others}). Run: chmod 600 ${path}`,
    );
  const wanted = [host.startsWith('/') ? 'localhost' : host, String(port), database ?? '', user ?? ''];
  for (const line of readFileSync(path, 'utf8').split(/\r?\n/)) {
    if (line.startsWith('#')) continue;
    const fields = fieldsOf(line);
    if (fields.length === 5 && wanted.every((value, i) => fields[i] === '*' || fields[i] === value))
      return fields[4];
  }
  return undefined;
}

/** Fields between colons; a backslash escapes the next character. */
function fieldsOf(line: string): string[] {
  const fields: string[] = [];
  let field = '';
  for (let i = 0; i < line.length; i++) {
    if (line[i] === ':' && fields.length < 4) {
      fields.push(field);
      field = '';
    } else field += line[i] === '\\' ? (line[++i] ?? '') : line[i];
  }
  return [...fields, field];
}
