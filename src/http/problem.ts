import type { ErrorRequestHandler, Response } from 'express';
import { CodedError, ERRORS } from '../protocol/terms.js';
import { log } from './log.js';

/** Answers with a document of RFC 9457. `type` is a URN; `detail` says what is wrong and what to do. */
export function sendProblem(response: Response, { code, message, details }: CodedError): void {
  const { status, title } = ERRORS[code];
  response.locals.failure = code;
  const { retryAfter, ...members } = details;
  if (retryAfter !== undefined) response.set('Retry-After', String(retryAfter));
  if (status === 401) response.set('WWW-Authenticate', 'Bearer');
  response
    .status(status)
    .type('application/problem+json')
    .send(JSON.stringify({ type: `urn:bkv:problem:${code}`, title, status, detail: message, ...members }));
}

/**
 * What a caller learns about an error. If the error is not in the table, the caller learns only that it was
 * logged.
 */
export function toProblem(error: unknown): CodedError {
  if (error instanceof CodedError) return error;
  const { status = 500, type } = error as { status?: number; type?: string };
  if (status === 413) return new CodedError('too-large', 'a request has at most 4096 bytes');
  if (status < 500)
    return new CodedError(
      status === 415 ? 'unsupported-media-type' : 'invalid-request',
      error instanceof URIError
        ? 'the path could not be read (a % must begin two hexadecimal digits of UTF-8)'
        : `the body could not be read (${type})`,
    );
  return new CodedError('internal', 'the vault has logged what went wrong under the request id');
}

/** Answers every error with a problem document, and logs unexpected ones. */
export const answerError: ErrorRequestHandler = (error, _request, response, _next) => {
  const problem = toProblem(error);
  if (problem.code === 'internal' && problem !== error)
    log.error('request failed', {
      requestId: response.locals.requestId,
      error: error?.name,
      reason: error?.message,
    });
  if (response.headersSent) response.destroy();
  else sendProblem(response, problem);
};
