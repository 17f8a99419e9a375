/**
 * Loaded before a daemon on each of its threads: every call into the token's module and every statement of the
 * database has a fault point before and after it, and so have the files that a first start makes. The calls are found
 * on the objects themselves, so that one which the code begins to use is tested without being listed. With BKV_POINTS
 * a thread waits at each point until its file in that folder is gone; with BKV_KILL_AT the daemon is killed at the
 * point of that number, counted in BKV_COUNT.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { threadId } from 'node:worker_threads';
import pkcs11 from 'pkcs11js';
import { openSqlite } from '../../src/keeper/records/sqlite.js';

const { BKV_POINTS: points, BKV_COUNT: count, BKV_KILL_AT: killAt } = process.env;
const { existsSync, fstatSync, openSync, writeFileSync, writeSync } = fs;
const counter = count && openSync(count, 'a');
const never = new Int32Array(new SharedArrayBuffer(4));

// The HTTP side has neither token nor database.
const isHttp = process.argv[2] === 'http';
let passed = 0;

function point(name: string): void {
  if (isHttp) return;
  if (points) {
    const here = join(points, `${process.pid}.${threadId}.${++passed}.${name}`);
    writeFileSync(here, '');
    while (existsSync(here)) Atomics.wait(never, 0, 0, 0.5);
  } else if (counter) {
    writeSync(counter, '.');
    if (fstatSync(counter).size >= Number(killAt)) process.kill(process.pid, 'SIGKILL');
  }
}

type Method = (...args: unknown[]) => unknown;

function surround(object: object, isCall: (name: string) => boolean): void {
  const methods = object as Record<string, Method>;
  const names = [object, Object.getPrototypeOf(object)].flatMap((one) => Object.getOwnPropertyNames(one));
  for (const name of new Set(names.filter(isCall))) {
    const method = methods[name] as Method;
    methods[name] = function (this: unknown, ...args: unknown[]) {
      point(`before ${name}`);
      const result = method.apply(this, args);
      if (result instanceof Promise) return result.finally(() => point(`after ${name}`));
      point(`after ${name}`);
      return result;
    };
  }
}

surround(pkcs11.PKCS11.prototype, (name) => name.startsWith('C_'));
surround(fs.promises, (name) => ['open', 'rename'].includes(name));
syncBuiltinESMExports();
const database = openSqlite(':memory:');
surround(Object.getPrototypeOf(database), (name) => name === 'exec');
surround(Object.getPrototypeOf(database.prepare('SELECT 1')), (name) =>
  ['run', 'get', 'all', 'iterate'].includes(name),
);
