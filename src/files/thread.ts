import { createCipheriv, createDecipheriv, createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';

/** A request to a thread: what a {@link Cipher} does, in place or into a file. */
export interface Request {
  readonly id: number;
  readonly work: 'digest' | 'seal' | 'open';
  /** this part's key, 32 bytes; not for a digest */
  readonly key?: Uint8Array;
  /** associated data */
  readonly about?: Uint8Array;
  /** the plaintext in a buffer with room for the tag, or the sealed part: changed in place unless there is a file */
  readonly bytes: Uint8Array;
  /** an open file that gets the sealed part */
  readonly file?: number;
}
export interface Answer {
  readonly id: number;
  /** absent if the tag is wrong, or if the result was written to a file */
  readonly bytes?: Uint8Array;
  /** an error of the system; as an Error it would lose its code on the way to another thread */
  readonly failure?: { readonly message: string; readonly code: string | undefined };
}

/**
 * Bytes that a cipher is given at a time. This takes few calls, and results are used while they are in the
 * processor's cache.
 */
const SLICE = 262_144;
/** Bytes of an AES-GCM tag. It is repeated here because a thread loads only this file of the program. */
const TAG_BYTES = 16;
/** All zeros, because each key has only one plaintext. */
const NONCE = Buffer.alloc(12);
const NOTHING = new Uint8Array();

function* inSlices(cipher: { update(slice: Uint8Array): Buffer }, bytes: Uint8Array): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += SLICE) yield cipher.update(bytes.subarray(at, at + SLICE));
}

/** A sealed part, slice by slice; the tag is the last slice. */
function* seal({ key = NOTHING, about = NOTHING, bytes }: Request): Generator<Buffer> {
  const cipher = createCipheriv('aes-256-gcm', key, NONCE).setAAD(about);
  yield* inSlices(cipher, bytes);
  cipher.final();
  yield cipher.getAuthTag();
}

function put(slices: Iterable<Buffer>, into: Uint8Array): Uint8Array {
  let at = 0;
  for (const slice of slices) {
    into.set(slice, at);
    at += slice.length;
  }
  return into;
}

function write(slices: Iterable<Buffer>, file: number): void {
  for (const slice of slices) writeFileSync(file, slice);
}

function open({ key = NOTHING, about = NOTHING, bytes }: Request): Uint8Array | undefined {
  if (bytes.length < TAG_BYTES) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', key, NONCE).setAAD(about);
  const plaintext = bytes.subarray(0, -TAG_BYTES);
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  put(inSlices(decipher, plaintext), plaintext);
  try {
    decipher.final();
    return plaintext;
  } catch {
    plaintext.fill(0);
    return undefined;
  }
}

function workOn(request: Request): Uint8Array | undefined {
  const { work, bytes, file } = request;
  if (work === 'digest') return createHash('sha256').update(bytes).digest();
  if (work === 'open') return open(request);
  if (file === undefined)
    return put(seal(request), new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length + TAG_BYTES));
  write(seal(request), file);
  return undefined;
}

function answer(request: Request): Answer {
  const { id } = request;
  try {
    const bytes = workOn(request);
    return { id, ...(bytes && { bytes }) };
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    return { id, failure: { message, code } };
  }
}

parentPort?.on('message', (request: Request) => {
  const answered = answer(request);
  request.key?.fill(0);
  parentPort?.postMessage(answered);
});
