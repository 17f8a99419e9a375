import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { type Cipher, PART_BYTES, TAG_BYTES, webCipher } from '../backup/index.js';
import type { Answer, Request } from './thread.js';

/** For smaller parts the work costs less than the way to another thread and back. */
const SMALL = 256 * 1024;

interface Thread {
  readonly worker: Worker;
  readonly waiting: Map<number, { resolve(answer: Answer): void; reject(error: Error): void }>;
}

/** A {@link Cipher} that works in place, in its own threads. */
class ThreadedCipher implements Cipher {
  readonly #threads: Thread[] = [];
  #count = 0;

  buffer(): Uint8Array {
    return new Uint8Array(new SharedArrayBuffer(PART_BYTES + TAG_BYTES));
  }

  async digest(bytes: Uint8Array): Promise<Uint8Array> {
    if (bytes.length < SMALL) return webCipher.digest(Uint8Array.from(bytes));
    return (await this.#ask({ work: 'digest', bytes })).bytes as Uint8Array;
  }

  async seal(key: Uint8Array, about: Uint8Array, bytes: Uint8Array): Promise<Uint8Array> {
    if (bytes.length < SMALL) return webCipher.seal(key, about, Uint8Array.from(bytes));
    const request: Omit<Request, 'id'> = { work: 'seal', key, about, bytes: withRoom(bytes) };
    return (await this.#ask(request)).bytes as Uint8Array;
  }

  async sealInto(file: number, key: Uint8Array, about: Uint8Array, bytes: Uint8Array): Promise<void> {
    if (bytes.length < SMALL) writeFileSync(file, await webCipher.seal(key, about, Uint8Array.from(bytes)));
    else await this.#ask({ work: 'seal', key, about, bytes, file });
  }

  async open(key: Uint8Array, about: Uint8Array, bytes: Uint8Array): Promise<Uint8Array | undefined> {
    if (bytes.length < SMALL) return webCipher.open(key, about, Uint8Array.from(bytes));
    return (await this.#ask({ work: 'open', key, about, bytes })).bytes;
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()));
  }

  /** @throws what the system refused */
  async #ask(request: Omit<Request, 'id'>): Promise<Answer> {
    const { worker, waiting } = this.#idlest();
    const id = this.#count++;
    const { failure, ...answer } = await new Promise<Answer>((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      worker.postMessage({ ...request, id } satisfies Request);
    });
    if (failure) throw Object.assign(new Error(failure.message), { code: failure.code });
    return answer;
  }

  #idlest(): Thread {
    const [idlest] = [...this.#threads].sort((a, b) => a.waiting.size - b.waiting.size);
    if (idlest && (idlest.waiting.size === 0 || this.#threads.length >= availableParallelism()))
      return idlest;
    const thread = begin(() => this.#threads.splice(this.#threads.indexOf(thread), 1));
    this.#threads.push(thread);
    return thread;
  }
}

/** @param onGone is called when the thread has ended by an error: it answers nothing more */
function begin(onGone: () => void): Thread {
  const worker = new Worker(new URL('./thread.js', import.meta.url));
  const waiting: Thread['waiting'] = new Map();
  worker.on('message', (answer: Answer) => {
    waiting.get(answer.id)?.resolve(answer);
    waiting.delete(answer.id);
  });
  worker.on('error', (error) => {
    onGone();
    for (const { reject } of waiting.values()) reject(error as Error);
    waiting.clear();
  });
  return { worker, waiting };
}

/** The same bytes, in a buffer with room for the tag after them. */
function withRoom(bytes: Uint8Array): Uint8Array {
  if (bytes.byteOffset + bytes.length + TAG_BYTES <= bytes.buffer.byteLength) return bytes;
  const roomy = new Uint8Array(new SharedArrayBuffer(bytes.length + TAG_BYTES));
  roomy.set(bytes);
  return roomy.subarray(0, bytes.length);
}

/** Lends `use` a {@link Cipher} with threads, which end afterwards. */
export async function withThreads<T>(use: (cipher: Cipher) => Promise<T>): Promise<T> {
  const cipher = new ThreadedCipher();
  try {
    return await use(cipher);
  } finally {
    await cipher.close();
  }
}
