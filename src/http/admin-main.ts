/**
 * `bkv admin`: metrics, health and upkeep, for the operator. Processes that face clients cannot reach what it
 * can.
 */
import { join } from 'node:path';
import { connectAdmin, SOCKETS } from '../keeper/socket/index.js';
import { stopped } from '../process/index.js';
import { adminApp } from './admin.js';
import { begin, untilThere } from './begin.js';
import { log } from './log.js';
import { measureProcess } from './metrics.js';
import { METRICS_SOCKET, readMetrics } from './metrics-socket.js';
import { listen, stop } from './serve.js';

/** Serves the admin address until it is to stop. @throws CodedError */
export async function runAdmin(args: string[]): Promise<void> {
  const { config, sockets } = begin(args);
  measureProcess('admin');
  const keeper = connectAdmin(join(sockets, SOCKETS.admin));
  try {
    if (!(await untilThere(() => keeper.health()))) return;
    const page = () => readMetrics(join(sockets, METRICS_SOCKET));
    const { server, url } = await listen(adminApp(keeper, page, config.adminHosts), config.admin);
    log.info('serving the operator', { admin: url });
    await stopped();
    await stop(server);
  } finally {
    keeper.disconnect();
  }
}
