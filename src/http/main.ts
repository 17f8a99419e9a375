/** `bkv http`: the side that faces clients. It has no token, no PIN and no database; the keeper answers for it. */
import cluster from 'node:cluster';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type Config, loadConfig } from '../config/index.js';
import { connectAdmin, type KeeperAdmin, SOCKETS } from '../keeper/socket/index.js';
import { harden, stopped, stopSignal } from '../process/index.js';
import { CodedError } from '../protocol/index.js';
import { adminApp } from './admin.js';
import { countAddresses } from './limits.js';
import { log } from './log.js';
import { listen, stop } from './serve.js';
import { serveApi } from './worker.js';
import { Workers } from './workers.js';

/** Runs the primary of the cluster, or in a process that it forked a worker, until it is to stop. @throws CodedError */
export async function runHttp(args: string[]): Promise<void> {
  const text = { type: 'string' } as const;
  const options = { config: text, sockets: text, listen: text, admin: text };
  const { values } = parseArgs({ args, options });
  const { config: file, sockets, ...overrides } = values;
  if (!sockets) throw new CodedError('usage', 'name the folder of the sockets: --sockets FOLDER');
  harden((warning) => log.warn(warning));
  const config = loadConfig(file, overrides);
  if (cluster.isWorker) await serveApi(config, sockets, Number(process.env.BKV_HTTP_PORT));
  else await lead(config, sockets);
}

async function lead(config: Config, sockets: string): Promise<void> {
  const keeper = connectAdmin(join(sockets, SOCKETS.admin));
  const workers = new Workers(config.httpWorkers, config.listen);
  countAddresses();
  try {
    const serverPublicKey = await identityOf(keeper);
    if (!serverPublicKey) return;
    const url = await workers.start();
    const admin = await listen(adminApp(keeper, config.adminHosts), config.admin);
    log.info('serving', { url, admin: admin.url, serverPublicKey });
    await stopped();
    log.info('stopping');
    await Promise.all([workers.stop(), stop(admin.server)]);
  } finally {
    keeper.disconnect();
    await workers.stop();
  }
}

const POLL_MS = 20;

/** Waits for the keeper. @returns the vault's identity, base64url; `undefined` when this process is to stop */
async function identityOf(keeper: KeeperAdmin): Promise<string | undefined> {
  while (!stopSignal.aborted) {
    const health = await keeper.health().catch(() => undefined);
    if (health) return Buffer.from(health.serverPublicKey).toString('base64url');
    await setTimeout(POLL_MS);
  }
  return undefined;
}
