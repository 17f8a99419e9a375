import { said as shown } from '../protocol/terms.js';
import { ObjectError } from './storage.js';

/** A request that takes longer is given up, and tried again. */
const LONGEST_MS = 300_000;

/** A server answered, but not with what was asked for. */
export class HttpError extends Error {
  override name = 'HttpError';

  constructor(
    readonly status: number,
    detail: string,
    /** seconds after which the server wants to be asked again */
    readonly retryAfter?: number,
    /** the server's own code for the failure, such as S3's `NoSuchBucket` */
    readonly code?: string,
  ) {
    super(`the server answered ${status}${detail && `: ${detail}`}`);
  }
}

/** Statuses whose cause is known, and what can be done. */
const ADVICE: Record<number, string> = {
  401: 'user name or password are wrong',
  403: 'it refuses; look at the user, the key and what they may do',
  409: 'the folder above it is not there; make it first',
  413: 'it takes no file of 4 MB; have its limit raised (client_max_body_size, LimitRequestBody, upload_max_filesize)',
  423: 'the file is locked by another program',
  507: 'the storage is full; make room, or run bkv prune',
};

/**
 * Only what reads may be sent on to another address. A write can become a GET on the way, which succeeds and
 * writes nothing.
 */
export const redirectOf = (method = 'GET'): RequestRedirect =>
  ['GET', 'HEAD', 'PROPFIND'].includes(method) ? 'follow' : 'manual';

export const isRedirect = (status: number): boolean => status >= 300 && status < 400;

export const timeLimit = (): AbortSignal => AbortSignal.timeout(LONGEST_MS);

/** What a server says about a failure: a code for programs, and a text for people. */
export interface Said {
  readonly code: string;
  readonly text: string;
}

/** @throws HttpError when the status is not one of success */
export async function checked(
  response: Response,
  saidIn: (response: Response) => Promise<Said>,
): Promise<Response> {
  if (response.ok) return response;
  const said = await saidIn(response).catch(() => undefined);
  await response.body?.cancel().catch(() => undefined);
  throw failure(response, said);
}

/** What a status means. @param said what the server said about it */
export function failure(
  {
    status,
    statusText,
    headers,
  }: Pick<Response, 'status' | 'statusText'> & { headers: { get(name: string): string | null } },
  said?: Said,
): HttpError {
  const after = Number(headers.get('retry-after') ?? Number.NaN);
  const told = [said?.code, said?.text].filter(Boolean).join(', ');
  const advice = isRedirect(status)
    ? `what is written belongs to another address, ${headers.get('location') ?? 'which it does not say'}; if that is your storage, name it instead`
    : (ADVICE[status] ?? statusText);
  const detail = shown([told, advice].filter(Boolean).join('; '));
  return new HttpError(status, detail, Number.isFinite(after) ? after : undefined, said?.code);
}

/**
 * The body of an answer, read only up to `most` bytes. @param into memory that may be used for it, if it has
 * room for `most`
 * @throws ObjectError when it is longer
 */
export async function bodyOf(
  {
    headers,
    body,
  }: { headers: { get(name: string): string | null }; body: AsyncIterable<Uint8Array> | null },
  name: string,
  most: number,
  into?: Uint8Array,
): Promise<Uint8Array> {
  const said = headers.get('content-length');
  const length = said === null || headers.get('content-encoding') ? undefined : Number(said);
  const room = into && into.length >= most ? into : undefined;
  const pieces: Uint8Array[] = [];
  let read = 0;
  // Leaving the loop abandons the rest of the body.
  for await (const piece of body ?? []) {
    read += piece.length;
    if (read > most || (length ?? 0) > most) throw new ObjectError(`${name} is longer than it can be`);
    if (room) room.set(piece, read - piece.length);
    else pieces.push(piece);
  }
  if (length !== undefined && read !== length) throw new Error('the answer was cut off');
  if (room) return room.subarray(0, read);
  return pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces);
}
