import { isIP } from 'node:net';
import express, { type Express, type Request, type RequestHandler } from 'express';
import type { KeeperAdmin } from '../keeper/socket/index.js';
import { CodedError } from '../protocol/terms.js';
import { registry } from './metrics.js';
import { mergePages, ofHttp } from './page.js';
import { answerError } from './problem.js';

/**
 * Metrics, health and upkeep, for an address that only the operator reaches.
 * @param http gives the metrics page of the process that faces clients @param hosts host names by which the
 * operator calls it; IP addresses and `localhost` are always accepted
 */
export function adminApp(
  keeper: KeeperAdmin,
  http: () => Promise<string>,
  hosts: readonly string[],
): Express {
  const server = express().disable('x-powered-by');
  server.use(onlyNamed(hosts));
  server.get('/metrics', async (_request, response) => {
    const [ours, theirs, keepers] = await Promise.all([
      registry.metrics(),
      http(),
      // The missing metrics show that the keeper is away.
      keeper.metrics().catch(() => ({ page: '' })),
    ]);
    response.type(registry.contentType).send(mergePages([keepers.page, ours, ofHttp(theirs)]));
  });
  server.get('/healthz', (_request, response) => {
    response.send('ok\n');
  });
  server.get('/readyz', async (_request, response) => {
    const trouble = await keeper.health().then(
      (health) => health.trouble,
      (error: Error) => error.message,
    );
    response.status(trouble ? 503 : 200).send(`${trouble ?? 'ready'}\n`);
  });
  // The backup is wrapped for the backup token, so whoever fetches it learns nothing.
  server.get('/backup', async (_request, response) => {
    response.type('application/json').send((await keeper.backUp()).backup);
  });
  server.post('/shred', onlySameOrigin, express.json({ limit: 1024 }), async (request, response) => {
    // Loaded when it is asked for: a sweep is rare.
    const { ShredOptions, validate } = await import('./schemas.js');
    const options = validate(ShredOptions, request.body);
    const lines = (page: object) => response.write(`${JSON.stringify(page)}\n`);
    response.type('application/x-ndjson');
    await keeper.shred(options, lines);
    response.end();
  });
  server.use(answerError);
  return server;
}

/**
 * In DNS rebinding, another site's page makes its own name point here. Its requests carry that name, and are
 * refused.
 */
function onlyNamed(hosts: readonly string[]): RequestHandler {
  const good = new Set(['localhost', ...hosts]);
  return (request, _response, next) => {
    const { host = '' } = request.headers;
    const name = host.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
    if (!good.has(name) && isIP(name) === 0)
      throw new CodedError(
        'forbidden-origin',
        `"${host}" is not a name of the admin address: see adminHosts`,
      );
    next();
  };
}

/** Only programs, and pages of this address, may change something: never a page of another address. */
const onlySameOrigin: RequestHandler = (request: Request, _response, next) => {
  const { origin, host } = request.headers;
  const site = request.headers['sec-fetch-site'];
  const foreign = origin !== undefined && origin !== `http://${host}`;
  if (foreign || (site !== undefined && site !== 'same-origin'))
    throw new CodedError('forbidden-origin', 'a page of another site cannot ask for this');
  if (!request.is('application/json'))
    throw new CodedError('unsupported-media-type', 'send application/json');
  next();
};
