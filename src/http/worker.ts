import { join } from 'node:path';
import type { Config } from '../config/index.js';
import { connectKeeper, SOCKETS } from '../keeper/socket/index.js';
import { stopped } from '../process/index.js';
import { version } from '../version.js';
import { app } from './app.js';
import { addressLimit, followingLimit } from './limits.js';
import { listen, stop } from './serve.js';

/**
 * Serves the API in a worker of the cluster until it is to stop. @param port the one that the primary has
 * chosen
 */
export async function serveApi(config: Config, sockets: string, port: number): Promise<void> {
  const keeper = connectKeeper(join(sockets, SOCKETS.api));
  const api = app(keeper, {
    limit: addressLimit(config.rateLimit.address),
    followingLimit: followingLimit(config.rateLimit.address),
    trustedProxies: config.trustedProxies,
    origins: config.cors,
    version,
  });
  const { server, url } = await listen(api, { ...config.listen, port, tls: config.tls });
  process.send?.({ listening: url });
  await stopped();
  await stop(server);
  keeper.disconnect();
}
