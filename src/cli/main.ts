#!/usr/bin/env node
/**
 * The command `bkv`. The processes of a daemon are recognised before anything else is loaded. So the keeper
 * loads little, and a signal that arrives while the rest is being loaded is not lost, even by the first
 * process of a container.
 */
import { listenForStop } from '../process/stop.js';

/** The processes of a daemon. */
const PARTS: Record<string, ((args: string[]) => Promise<void>) | undefined> = {
  keeper: async (args) => (await import('../keeper/main.js')).runKeeper(args),
  http: async (args) => (await import('../http/main.js')).runHttp(args),
  admin: async (args) => (await import('../http/admin-main.js')).runAdmin(args),
};

const [command = '', ...args] = process.argv.slice(2);
const run = Object.hasOwn(PARTS, command) ? PARTS[command] : undefined;
if (run || command === 'serve') listenForStop();

if (run) {
  try {
    await run(args);
  } catch (error) {
    (await import('../process/fail.js')).failWith(error);
  }
  // The channel to the parent would keep the process alive.
  process.exit();
} else await (await import('./program.js')).run();
