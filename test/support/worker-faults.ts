/**
 * Loaded before a daemon in each of its processes: every message between an HTTP worker and the keeper is a
 * point at which the worker may be killed. The file in the query of this module's URL says after how many more
 * points the worker is killed; without this file nothing is killed.
 */
import cluster from 'node:cluster';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { SocketClient } from '../../src/keeper/socket/client.js';
import { settingOf } from './preload.js';

const file = settingOf(import.meta.url);

function point(): void {
  if (!existsSync(file)) return;
  const left = Number(readFileSync(file, 'utf8'));
  if (left > 0) writeFileSync(file, String(left - 1));
  else {
    rmSync(file);
    process.kill(process.pid, 'SIGKILL');
  }
}

if (cluster.isWorker) {
  const client = SocketClient.prototype as unknown as { call(...given: unknown[]): Promise<unknown> };
  const { call } = client;
  client.call = function (...given) {
    point();
    const answer = call.apply(this, given);
    // The message is sent at the end of this turn of the event loop.
    setImmediate(point);
    return answer.finally(point);
  };
}
