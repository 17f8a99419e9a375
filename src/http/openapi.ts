import { z } from 'zod';
import * as schemas from './schemas.js';

export interface Route {
  readonly method: 'get' | 'post' | 'delete';
  readonly path: string;
  readonly operation: string;
  readonly summary: string;
  readonly authenticated: boolean;
  /** whether it follows a start: then it counts towards the limit of an address only if it is refused */
  readonly follows?: true;
  readonly body?: z.ZodType;
  readonly answer?: z.ZodType;
  readonly errors: readonly number[];
}

/** The API's description, made from the schemas that requests are validated by. */
export function openapi(routes: readonly Route[], version: string): object {
  const json = (schema: z.ZodType) => ({
    'application/json': { schema: z.toJSONSchema(schema, { target: 'draft-2020-12' }) },
  });
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const path = route.path.replace(/:(\w+)/g, '{$1}');
    paths[path] ??= {};
    paths[path][route.method] = {
      operationId: route.operation,
      summary: route.summary,
      security: route.authenticated ? [{ jwt: [] }] : [],
      parameters: [...route.path.matchAll(/:(\w+)/g)].map(([, name]) => ({
        name,
        in: 'path',
        required: true,
        schema: { type: 'string' },
      })),
      ...(route.body && { requestBody: { required: true, content: json(route.body) } }),
      responses: {
        [route.answer ? 200 : 204]: {
          description: 'done',
          ...(route.answer && { content: json(route.answer) }),
        },
        ...Object.fromEntries(
          route.errors.map((status) => [
            status,
            {
              description: 'problem',
              content: { 'application/problem+json': { schema: z.toJSONSchema(schemas.Problem) } },
            },
          ]),
        ),
      },
    };
  }
  return {
    openapi: '3.1.0',
    info: { title: 'HSM Backup Key Vault', version },
    components: { securitySchemes: { jwt: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } } },
    paths,
  };
}
