import { createCipheriv, createDecipheriv, createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { NONCE_BYTES, TAG_BYTES } from '../backup/index.js';

/** What a thread is asked: what a {@link Cipher} does, in place. Answered with bytes, or nothing. */
export interface Request {
  readonly id: number;
  readonly work: 'digest' | 'seal' | 'open';
  /** of this one part, 32 bytes; not for a digest */
  readonly key?: Uint8Array;
  /** associated data */
  readonly about?: Uint8Array;
  /** the plaintext in a buffer with room for the tag, or the sealed part: changed in place */
  readonly bytes: Uint8Array;
}
export interface Answer {
  readonly id: number;
  readonly bytes?: Uint8Array;
}

/** Bytes that a cipher is given at a time: what it answers stays in the processor's cache. */
const SLICE = 65_536;
const NONCE = Buffer.alloc(NONCE_BYTES);
const NOTHING = new Uint8Array();

function inPlace(cipher: { update(slice: Uint8Array): Buffer }, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += SLICE)
    bytes.set(cipher.update(bytes.subarray(at, at + SLICE)), at);
}

function answer({ id, work, key = NOTHING, about = NOTHING, bytes }: Request): Answer {
  if (work === 'digest') return { id, bytes: createHash('sha256').update(bytes).digest() };
  if (work === 'seal') {
    const cipher = createCipheriv('aes-256-gcm', key, NONCE).setAAD(about);
    inPlace(cipher, bytes);
    cipher.final();
    const sealed = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length + TAG_BYTES);
    sealed.set(cipher.getAuthTag(), bytes.length);
    return { id, bytes: sealed };
  }
  if (bytes.length < TAG_BYTES) return { id };
  const decipher = createDecipheriv('aes-256-gcm', key, NONCE).setAAD(about);
  const plaintext = bytes.subarray(0, -TAG_BYTES);
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  inPlace(decipher, plaintext);
  try {
    decipher.final();
    return { id, bytes: plaintext };
  } catch {
    plaintext.fill(0);
    return { id };
  }
}

parentPort?.on('message', (request: Request) => {
  const answered = answer(request);
  request.key?.fill(0);
  parentPort?.postMessage(answered);
});
