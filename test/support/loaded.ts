/**
 * Loaded before each process of a daemon: writes the path of every module that the process loads, on any of its threads, to
 * FILE.<pid>, by Node.js's own hook and by the cache of require. FILE is the query of this module's URL.
 */
import { appendFileSync } from 'node:fs';
import { createRequire, Module, register } from 'node:module';
import { settingOf } from './preload.js';

const file = `${settingOf(import.meta.url)}.${process.pid}`;
const hook = `
  import { appendFileSync } from 'node:fs';
  export async function load(url, context, next) {
    appendFileSync(${JSON.stringify(file)}, url + '\\n');
    return next(url, context);
  }`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);

const loader = Module as unknown as { _load: (request: string, ...rest: unknown[]) => unknown };
const load = loader._load;
const seen = new Set<string>();
const { cache } = createRequire(import.meta.url);
loader._load = function (this: unknown, ...args) {
  const result = load.apply(this, args);
  const fresh = Object.keys(cache).filter((path) => !seen.has(path));
  for (const path of fresh) seen.add(path);
  if (fresh.length > 0) appendFileSync(file, `${fresh.join('\n')}\n`);
  return result;
};
