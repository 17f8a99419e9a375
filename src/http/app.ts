import { randomUUID } from 'node:crypto';
import express, { type ErrorRequestHandler, type Express, type Request, type Response } from 'express';
import { ipKeyGenerator, rateLimit } from 'express-rate-limit';
import { z } from 'zod';
import { accountHash, log } from '../keeper/log/index.js';
import { renderMetrics } from '../keeper/metrics/index.js';
import { CONTEXT, type Duty, type Vault } from '../keeper/vault/index.js';
import { CodedError } from '../protocol/index.js';
import type { Authenticate } from './auth.js';
import { httpRequests, registry, vaultOperations } from './metrics.js';
import { openapi, type Route } from './openapi.js';
import { sendProblem, toProblem } from './problem.js';
import * as schemas from './schemas.js';

export interface AppOptions {
  /** requests a minute, for each account and for each address */
  readonly rateLimit: { readonly account: number; readonly address: number };
  /** addresses or networks of proxies whose X-Forwarded-For is believed */
  readonly trustedProxies: readonly string[];
  readonly version: string;
}

/** Requests that are answered at the same time; more would only wait, and their clients give up. */
const ADMITTED = 1024;

type Call = { vault: Vault; account: string; body: Record<string, string>; params: Record<string, string> };
type Endpoint = Route & { handle: (call: Call) => Promise<object | undefined> };

const decode = (text: string | undefined): Uint8Array => Buffer.from(text as string, 'base64url');
const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');

const endpoints: Endpoint[] = [
  {
    method: 'get',
    path: '/v1/identity',
    operation: 'identity',
    summary: "The vault's static public key, for clients to pin",
    authenticated: false,
    answer: schemas.Identity,
    errors: [429, 503],
    handle: async ({ vault }) => ({
      serverPublicKey: encode(vault.serverPublicKey),
      transportPublicKey: encode(vault.transportPublicKey),
      suite: 'P256-SHA256',
      context: CONTEXT.toString(),
      maxAttempts: vault.maxAttempts,
    }),
  },
  {
    method: 'get',
    path: '/v1/account',
    operation: 'status',
    summary: 'Whether the account has a key, and how many wrong passwords are left',
    authenticated: true,
    answer: schemas.Status,
    errors: [401, 429, 503],
    handle: ({ vault, account }) => vault.status(account),
  },
  {
    method: 'delete',
    path: '/v1/account',
    operation: 'delete',
    summary: "Makes the account's key unreachable for ever",
    authenticated: true,
    errors: [401, 429, 503],
    handle: async ({ vault, account }) => {
      await vault.delete(account);
      return undefined;
    },
  },
  {
    method: 'post',
    path: '/v1/registration/start',
    operation: 'registrationStart',
    summary: 'First message of a registration (RFC 9807, section 5.2)',
    authenticated: true,
    body: schemas.RegistrationStart,
    answer: schemas.RegistrationStarted,
    errors: [400, 401, 413, 429, 503],
    handle: async ({ vault, account, body }) => {
      const { registrationId, registrationResponse } = await vault.startRegistration(
        account,
        decode(body.registrationRequest),
      );
      return { registrationId, registrationResponse: encode(registrationResponse) };
    },
  },
  {
    method: 'post',
    path: '/v1/registration/finish',
    operation: 'registrationFinish',
    summary: 'Last message of a registration: replaces what the account had',
    authenticated: true,
    body: schemas.RegistrationFinish,
    errors: [400, 401, 404, 413, 429, 503],
    handle: async ({ vault, account, body }) => {
      const id = body.registrationId as string;
      await vault.finishRegistration(
        account,
        id,
        decode(body.registrationRecord),
        decode(body.encryptedBackupKey),
      );
      return undefined;
    },
  },
  {
    method: 'post',
    path: '/v1/share/register',
    operation: 'shareRegister',
    summary: "Keeps a share of a fleet's key, beside the account's older dealings",
    authenticated: true,
    body: schemas.ShareRegister,
    errors: [400, 401, 413, 429, 503],
    handle: async ({ vault, account, body }) => {
      await vault.registerShare(account, {
        dealing: body.dealing as string,
        sharePublicKey: decode(body.sharePublicKey),
        transportKey: decode(body.transportKey),
        wrappedShare: decode(body.wrappedShare),
        registrationRecord: decode(body.registrationRecord),
        encryptedBackupKey: decode(body.encryptedBackupKey),
      });
      return undefined;
    },
  },
  {
    method: 'post',
    path: '/v1/share/commit',
    operation: 'shareCommit',
    summary: 'Ends every other dealing of the account',
    authenticated: true,
    body: schemas.ShareCommit,
    errors: [400, 401, 404, 413, 429, 503],
    handle: async ({ vault, account, body }) => {
      await vault.commitDealing(account, body.dealing as string);
      return undefined;
    },
  },
  {
    method: 'post',
    path: '/v1/recovery/start',
    operation: 'recoveryStart',
    summary: 'Spends an attempt and answers KE1 with KE2 (RFC 9807, section 6)',
    authenticated: true,
    body: schemas.RecoveryStart,
    answer: schemas.RecoveryStarted,
    errors: [400, 401, 413, 423, 429, 503],
    handle: async ({ vault, account, body }) => {
      const { recoveryId, KE2, attemptsRemaining } = await vault.startRecovery(
        account,
        decode(body.KE1),
        body.dealing,
      );
      return { recoveryId, KE2: encode(KE2), attemptsRemaining };
    },
  },
  {
    method: 'post',
    path: '/v1/recovery/finish',
    operation: 'recoveryFinish',
    summary: 'Gives the attempts back and the encrypted key out, if KE3 proves the password',
    authenticated: true,
    body: schemas.RecoveryFinish,
    answer: schemas.RecoveryFinished,
    errors: [400, 401, 403, 404, 413, 429, 503],
    handle: async ({ vault, account, body }) => ({
      encryptedBackupKey: encode(
        await vault.finishRecovery(account, body.recoveryId as string, decode(body.KE3)),
      ),
    }),
  },
  {
    method: 'delete',
    path: '/v1/recovery/:recoveryId',
    operation: 'recoveryAbandon',
    summary: 'Ends a recovery whose password was wrong; the attempt stays spent',
    authenticated: true,
    errors: [401, 404, 429, 503],
    handle: async ({ vault, account, params }) => {
      await vault.abandonRecovery(account, params.recoveryId as string);
      return undefined;
    },
  },
];

/** The API's description as OpenAPI 3.1. */
export const description = (version: string): object => openapi(endpoints, version);

/** The public API over a vault. */
export function app(duty: Duty, authenticate: Authenticate, options: AppOptions): Express {
  const server = express().disable('x-powered-by').disable('etag');
  server.set('trust proxy', [...options.trustedProxies]);
  const described = description(options.version);
  const limit = (max: number, key: (request: Request, response: Response) => string) =>
    rateLimit({
      windowMs: 60_000,
      limit: max,
      keyGenerator: key,
      standardHeaders: 'draft-7',
      legacyHeaders: false,
      // Of a client that no trusted proxy speaks for it is left out.
      validate: { xForwardedForHeader: false },
      handler: (_request, response) =>
        sendProblem(response, new CodedError('rate-limited', 'wait as Retry-After says, then try again')),
    });

  server.use((_request, response, next) => {
    response.locals.requestId = randomUUID();
    response.locals.started = performance.now();
    response.set({ 'X-Request-Id': response.locals.requestId, 'Cache-Control': 'no-store' });
    next();
  });
  server.use(limit(options.rateLimit.address, (request) => ipKeyGenerator(request.ip ?? '')));
  server.get('/openapi.json', (_request, response) => {
    response.json(described);
  });

  let admitted = 0;
  /** Counted once a request is whole, so that slow clients keep nobody out. */
  const admit = async <T>(work: () => Promise<T>): Promise<T> => {
    if (admitted >= ADMITTED)
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
  const byAccount = limit(
    options.rateLimit.account,
    (_request, response) => response.locals.account as string,
  );
  const parse = express.json({ limit: 4096, strict: true });
  for (const { method, path, operation, authenticated, body, handle } of endpoints) {
    server[method](
      path,
      (_request, response, next) => {
        response.on('finish', () => observe(operation, response));
        next();
      },
      async (request, response, next) => {
        if (authenticated) response.locals.account = await authenticate(request.headers.authorization);
        next();
      },
      (request, response, next) => (authenticated ? byAccount(request, response, next) : next()),
      ...(body ? [parse] : []),
      async (request: Request, response: Response) => {
        const call = {
          vault: duty.vault,
          account: response.locals.account as string,
          body: body ? (validate(body, request.body) as Record<string, string>) : {},
          params: request.params as Record<string, string>,
        };
        const answer = await admit(() => handle(call));
        if (answer) response.json(answer);
        else response.status(204).end();
      },
    );
  }

  server.use(() => {
    throw new CodedError('not-found', 'see /openapi.json for what there is');
  });
  server.use(onError);
  return server;
}

const shredOptions = z.strictObject({
  all: z.boolean().default(false),
  abandonLost: z.boolean().default(false),
});

/** Metrics, health and upkeep, for an address that only the operator reaches. */
export function adminApp(duty: Duty): Express {
  const server = express().disable('x-powered-by');
  server.get('/metrics', async (_request, response) => {
    response.type(registry.contentType).send(renderMetrics() + (await registry.metrics()));
  });
  server.get('/healthz', (_request, response) => {
    response.send('ok\n');
  });
  server.get('/readyz', (_request, response) => {
    const { trouble } = duty;
    response.status(trouble ? 503 : 200).send(`${trouble ?? 'ready'}\n`);
  });
  // Wrapped for the backup token, so that it is secret from whoever fetches it.
  server.get('/backup', async (_request, response) => {
    response.type('application/json').send(await duty.vault.backUp());
  });
  // JSON only, which no web page can send here by itself.
  server.post('/shred', express.json({ limit: 1024 }), async (request, response) => {
    const options = validate(shredOptions, request.body);
    const { vault } = duty;
    response.type('application/x-ndjson').flushHeaders();
    await vault.shred(options, (page) => response.write(`${JSON.stringify(page)}\n`));
    response.end();
  });
  server.use(onError);
  return server;
}

function validate<S extends z.ZodType>(schema: S, body: unknown): z.infer<S> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new CodedError('invalid-request', `${issue?.path.join('.') || 'body'}: ${issue?.message}`);
}

function observe(operation: string, response: Response): void {
  const { requestId, started, account, failure } = response.locals;
  const ms = performance.now() - started;
  httpRequests.observe({ operation, status: response.statusCode }, ms / 1000);
  vaultOperations.inc({ operation, outcome: failure ?? 'ok' });
  log.info('request', {
    requestId,
    operation,
    status: response.statusCode,
    ms: Math.round(ms * 10) / 10,
    ...(account && { account: accountHash(account) }),
  });
}

const onError: ErrorRequestHandler = (error, _request, response, _next) => {
  const problem = toProblem(error);
  response.locals.failure = problem.code;
  if (problem.code === 'internal')
    log.error('request failed', {
      requestId: response.locals.requestId,
      error: error?.name,
      reason: error?.message,
    });
  if (response.headersSent) response.destroy();
  else sendProblem(response, problem);
};
