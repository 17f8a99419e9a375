import { createCipheriv, createDecipheriv, createHmac, hkdfSync } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { keyInfo, NONCE_BYTES, PART_AAD, TAG_BYTES } from '../backup/index.js';

/** What a thread is asked: the same as {@link Format}, whose part it does. Answered with bytes, a name, or nothing. */
export interface Request {
  readonly id: number;
  readonly work: 'name' | 'seal' | 'open';
  readonly name: string;
  /** the plaintext in a buffer with room for the tag, or the sealed part: changed in place */
  readonly bytes: Uint8Array;
}
export interface Answer {
  readonly id: number;
  readonly name?: string;
  readonly bytes?: Uint8Array;
  readonly failed?: boolean;
}

/** Bytes that a cipher is given at a time: what it answers stays in the processor's cache. */
const SLICE = 65_536;
const NONCE = Buffer.alloc(NONCE_BYTES);

const { backupKey, salt } = workerData as { backupKey: Uint8Array; salt: Uint8Array };
const derive = (key: Parameters<typeof keyInfo>[0]): Buffer =>
  Buffer.from(hkdfSync('sha256', backupKey, salt, keyInfo(key), 32));
const nameKey = derive('part name');
const partKey = derive('part key');
backupKey.fill(0);

const keyOf = (name: string): Buffer =>
  createHmac('sha256', partKey).update(Buffer.from(name, 'hex')).digest();

function inPlace(cipher: { update(slice: Uint8Array): Buffer }, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += SLICE)
    bytes.set(cipher.update(bytes.subarray(at, at + SLICE)), at);
}

function answer({ id, work, name, bytes }: Request): Answer {
  if (work === 'name') return { id, name: createHmac('sha256', nameKey).update(bytes).digest('hex') };
  if (work === 'seal') {
    const cipher = createCipheriv('aes-256-gcm', keyOf(name), NONCE).setAAD(PART_AAD);
    inPlace(cipher, bytes);
    cipher.final();
    const sealed = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length + TAG_BYTES);
    sealed.set(cipher.getAuthTag(), bytes.length);
    return { id, bytes: sealed };
  }
  if (bytes.length < TAG_BYTES) return { id, failed: true };
  const decipher = createDecipheriv('aes-256-gcm', keyOf(name), NONCE).setAAD(PART_AAD);
  const plaintext = bytes.subarray(0, -TAG_BYTES);
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  inPlace(decipher, plaintext);
  try {
    decipher.final();
    return { id, bytes: plaintext };
  } catch {
    plaintext.fill(0);
    return { id, failed: true };
  }
}

parentPort?.on('message', (request: Request) => parentPort?.postMessage(answer(request)));
