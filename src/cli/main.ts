#!/usr/bin/env node
/**
 * The command `bkv`. The processes of a daemon are told apart before anything is loaded: the keeper loads little, and a
 * signal that comes while the rest is read is not lost, not even by the first process of a container.
 */
import { listenForStop } from '../process/stop.js';

const [command = '', ...args] = process.argv.slice(2);
if (['serve', 'keeper', 'http'].includes(command)) listenForStop();

const isPart = command === 'keeper' || command === 'http';
if (isPart) {
  try {
    if (command === 'keeper') await (await import('../keeper/main.js')).runKeeper(args);
    else await (await import('../http/main.js')).runHttp(args);
  } catch (error) {
    (await import('../process/fail.js')).failWith(error);
  }
  // The channel to the parent would hold the process.
  process.exit();
} else await (await import('./program.js')).run();
