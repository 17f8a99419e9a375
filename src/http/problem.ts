import type { Response } from 'express';

/** An answer of RFC 9457. `type` is a URN; `detail` says what is wrong and what to do. */
export class ProblemError extends Error {
  constructor(
    readonly status: number,
    readonly kind: string,
    readonly title: string,
    detail: string,
    readonly extra: { readonly attemptsRemaining?: number; readonly retryAfter?: number } = {},
  ) {
    super(detail);
  }
}

export function sendProblem(response: Response, { status, kind, title, message, extra }: ProblemError): void {
  const { retryAfter, ...members } = extra;
  if (retryAfter !== undefined) response.set('Retry-After', String(retryAfter));
  if (status === 401 && kind === 'unauthorized') response.set('WWW-Authenticate', 'Bearer');
  response
    .status(status)
    .type('application/problem+json')
    .send(JSON.stringify({ type: `urn:bkv:problem:${kind}`, title, status, detail: message, ...members }));
}
