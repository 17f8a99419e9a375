import type { RequestHandler } from 'express';

/** Lets pages of these origins ask, each with its own access token (Fetch, "CORS protocol"). */
export function cors(origins: readonly string[]): RequestHandler {
  return (request, response, next) => {
    if (origins.length > 0) response.vary('Origin');
    const { origin } = request.headers;
    if (origin === undefined || !origins.includes(origin)) return next();
    response.set({
      'Access-Control-Allow-Origin': origin,
      'Access-Control-Expose-Headers': 'Retry-After, X-Request-Id',
    });
    if (request.method !== 'OPTIONS' || !request.headers['access-control-request-method']) return next();
    response.set({
      'Access-Control-Allow-Methods': 'GET, POST, DELETE',
      'Access-Control-Allow-Headers': 'authorization, content-type',
      'Access-Control-Max-Age': '600',
    });
    response.status(204).end();
  };
}
