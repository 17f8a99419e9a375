/**
 * Loaded before a daemon on each of its threads: counts every write to token and database, and kills the daemon
 * before the write numbered BKV_KILL_BEFORE. A write that the code adds is thus tested without being listed.
 */
import { appendFileSync, statSync } from 'node:fs';
import SQLite from 'better-sqlite3';
import pkcs11 from 'pkcs11js';

const log = process.env.BKV_WRITES as string;
const killBefore = Number(process.env.BKV_KILL_BEFORE ?? 0);

function point(name: string): void {
  appendFileSync(log, `${name}\n`.padStart(32));
  if (statSync(log).size / 32 === killBefore) process.kill(process.pid, 'SIGKILL');
}

type Method = (...args: unknown[]) => unknown;

function count(prototype: object, name: string, isWrite: (args: unknown[], self: unknown) => boolean): void {
  const methods = prototype as Record<string, Method>;
  const method = methods[name] as Method;
  methods[name] = function (this: unknown, ...args: unknown[]) {
    if (isWrite(args, this)) point(name);
    return method.apply(this, args);
  };
}

const onToken = (args: unknown[]): boolean =>
  args
    .filter(Array.isArray)
    .flat()
    .some(({ type, value }) => type === pkcs11.CKA_TOKEN && value === true);
// Session objects are destroyed all the time; what matters are the ends of token objects.
const isTokenObject = ([session, handle]: unknown[], self: unknown): boolean =>
  (self as pkcs11.PKCS11).C_GetAttributeValue(session as Buffer, handle as Buffer, [
    { type: pkcs11.CKA_TOKEN },
  ])[0]?.value[0] === 1;

count(pkcs11.PKCS11.prototype, 'C_CreateObject', onToken);
count(pkcs11.PKCS11.prototype, 'C_GenerateKey', onToken);
count(pkcs11.PKCS11.prototype, 'C_DestroyObject', isTokenObject);
const statement = new SQLite(':memory:').prepare('SELECT 1').constructor.prototype as object;
count(statement, 'run', () => true);
