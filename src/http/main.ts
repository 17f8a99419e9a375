/** `bkv http`: the side that faces clients. It has no token, no PIN and no database; the keeper answers for it. */
import cluster from 'node:cluster';
import { join } from 'node:path';
import type { Config } from '../config/index.js';
import { connectKeeper, SOCKETS } from '../keeper/socket/index.js';
import { stopped } from '../process/index.js';
import { begin, untilThere } from './begin.js';
import { countAddresses } from './counts.js';
import { log } from './log.js';
import { measureProcess, metricsPage } from './metrics.js';
import { METRICS_SOCKET, serveMetrics } from './metrics-socket.js';
import { stop } from './serve.js';
import { Workers } from './workers.js';

/**
 * Runs the primary of the cluster or, in a process that the primary forked, a worker, until it is to stop.
 * @throws CodedError
 */
export async function runHttp(args: string[]): Promise<void> {
  const { config, sockets } = begin(args);
  measureProcess(cluster.isWorker ? `http-worker-${process.env.BKV_HTTP_WORKER}` : 'http');
  // The primary answers no client, so it does not load what does.
  if (cluster.isWorker)
    await (await import('./worker.js')).serveApi(config, sockets, Number(process.env.BKV_HTTP_PORT));
  else await lead(config, sockets);
}

async function lead(config: Config, sockets: string): Promise<void> {
  const keeper = connectKeeper(join(sockets, SOCKETS.api));
  const identity = await untilThere(() => keeper.identity());
  keeper.disconnect();
  if (!identity) return;
  const workers = new Workers(config.httpWorkers, config.listen);
  process.on('SIGHUP', () => workers.hangUp());
  countAddresses();
  try {
    const url = await workers.start();
    const metrics = await serveMetrics(join(sockets, METRICS_SOCKET), metricsPage);
    const serverPublicKey = Buffer.from(identity.serverPublicKey).toString('base64url');
    log.info('serving', { url, serverPublicKey });
    await stopped();
    log.info('stopping');
    await Promise.all([workers.stop(), stop(metrics, 0)]);
  } finally {
    await workers.stop();
  }
}
