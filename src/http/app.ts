import { randomUUID } from 'node:crypto';
import express, { type Express, type Request, type RequestHandler, type Response } from 'express';
import type { KeeperApi } from '../keeper/vault/api.js';
import { CodedError } from '../protocol/terms.js';
import { cors } from './cors.js';
import { withoutPorts } from './forwarded.js';
import { log } from './log.js';
import { httpRequests, vaultOperations } from './metrics.js';
import { answerError } from './problem.js';
import { description, type Endpoint, endpoints } from './routes.js';
import { validate } from './schemas.js';

export interface AppOptions {
  readonly limit: RequestHandler;
  /** for messages that follow a start */
  readonly followingLimit: RequestHandler;
  /** addresses or networks of proxies whose X-Forwarded-For is believed */
  readonly trustedProxies: readonly string[];
  /** origins whose pages may ask */
  readonly origins: readonly string[];
  readonly version: string;
}

/**
 * Most requests that a worker has at the keeper at the same time. More would only wait until their clients
 * give up.
 */
const ADMITTED = 1024;

/** The public API over a keeper. */
export function app(keeper: KeeperApi, options: AppOptions): Express {
  const { limit, followingLimit, trustedProxies, origins, version } = options;
  const server = express().disable('x-powered-by').disable('etag');
  server.set('trust proxy', [...trustedProxies]);
  server.use((_request, response, next) => {
    response.locals.requestId = randomUUID();
    response.locals.started = performance.now();
    response.locals.operation = 'none';
    response.locals.level = 'info';
    response.set({ 'X-Request-Id': response.locals.requestId, 'Cache-Control': 'no-store' });
    response.on('finish', () => observe(response));
    next();
  });
  server.use(cors(origins), withoutPorts);
  const described = description(version);
  server.get('/openapi.json', limit, (_request, response) => {
    response.json(described);
  });
  const gate = { limit, admit: admission(ADMITTED) };
  // Nothing else keeps a message out that follows a start.
  const following: Gate = { limit: followingLimit, admit: (work) => work() };
  for (const endpoint of endpoints) serve(server, endpoint, keeper, endpoint.follows ? following : gate);
  server.use(limit, () => {
    throw new CodedError('not-found', 'see /openapi.json for what there is');
  });
  server.use(answerError);
  return server;
}

type Admit = <T>(work: () => Promise<T>) => Promise<T>;

/** What keeps out floods of requests. */
interface Gate {
  readonly limit: RequestHandler;
  readonly admit: Admit;
}

/** A request is counted only once it is complete, so that slow clients keep nobody out. */
function admission(most: number): Admit {
  let admitted = 0;
  return async (work) => {
    if (admitted >= most)
      throw new CodedError(
        'overloaded',
        'more requests wait than can be answered soon; nothing is lost, try again',
        { retryAfter: 2 },
      );
    admitted++;
    try {
      return await work();
    } finally {
      admitted--;
    }
  };
}

const parse = express.json({ limit: 4096, strict: true });

function serve(server: Express, endpoint: Endpoint, keeper: KeeperApi, { limit, admit }: Gate): void {
  const { method, path, operation, authenticated, body, handle } = endpoint;
  server[method](
    path,
    (_request, response, next) => {
      response.locals.operation = operation;
      next();
    },
    limit,
    (request, response, next) => {
      if (authenticated) response.locals.accessToken = bearer(request);
      next();
    },
    ...(body ? [parse] : []),
    async (request: Request, response: Response) => {
      const call = {
        keeper,
        caller: {
          accessToken: response.locals.accessToken as string,
          requestId: response.locals.requestId as string,
        },
        body: body ? (validate(body, request.body) as Record<string, string>) : {},
        params: request.params as Record<string, string>,
      };
      const answer = await admit(() => handle(call));
      if (answer) response.json(answer);
      else response.status(204).end();
    },
  );
}

/** @throws CodedError unauthorized */
function bearer({ headers }: Request): string {
  const [, accessToken] = /^Bearer ([\w.-]+)$/i.exec(headers.authorization ?? '') ?? [];
  if (!accessToken)
    throw new CodedError('unauthorized', 'send "Authorization: Bearer <JWT>" for the account');
  return accessToken;
}

function observe(response: Response): void {
  const { operation, requestId, started, failure, level } = response.locals;
  const ms = performance.now() - started;
  httpRequests.observe({ operation, status: response.statusCode }, ms / 1000);
  vaultOperations.inc({ operation, outcome: failure ?? 'ok' });
  log.log(level, 'request', {
    requestId,
    operation,
    status: response.statusCode,
    ms: Math.round(ms * 10) / 10,
  });
}
