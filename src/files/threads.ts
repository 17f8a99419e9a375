import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { type Cipher, PART_BYTES, TAG_BYTES, webCipher } from '../backup/index.js';
import type { Answer, Request } from './thread.js';

/** A smaller part costs less than the way to another thread and back. */
const SMALL = 256 * 1024;

/** A {@link Cipher} that works in place, in threads of its own. */
class ThreadedCipher implements Cipher {
  readonly #threads: Worker[] = [];
  readonly #waiting = new Map<number, { resolve(answer: Answer): void; reject(error: Error): void }>();
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

  async open(key: Uint8Array, about: Uint8Array, bytes: Uint8Array): Promise<Uint8Array | undefined> {
    if (bytes.length < SMALL) return webCipher.open(key, about, Uint8Array.from(bytes));
    return (await this.#ask({ work: 'open', key, about, bytes })).bytes;
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }

  #ask(request: Omit<Request, 'id'>): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const id = this.#count++;
      this.#waiting.set(id, { resolve, reject });
      this.#thread(id).postMessage({ ...request, id } satisfies Request);
    });
  }

  #thread(id: number): Worker {
    const at = id % availableParallelism();
    const known = this.#threads[at];
    if (known) return known;
    const thread = new Worker(new URL('./thread.js', import.meta.url));
    thread.on('message', (answer: Answer) => {
      this.#waiting.get(answer.id)?.resolve(answer);
      this.#waiting.delete(answer.id);
    });
    thread.on('error', (error) => {
      for (const { reject } of this.#waiting.values()) reject(error as Error);
      this.#waiting.clear();
    });
    this.#threads[at] = thread;
    return thread;
  }
}

/** The same bytes where the tag fits behind them. */
function withRoom(bytes: Uint8Array): Uint8Array {
  if (bytes.byteOffset + bytes.length + TAG_BYTES <= bytes.buffer.byteLength) return bytes;
  const roomy = new Uint8Array(new SharedArrayBuffer(bytes.length + TAG_BYTES));
  roomy.set(bytes);
  return roomy.subarray(0, bytes.length);
}

/** Lends what uses a backup a {@link Cipher} with threads, which end with it. */
export async function withThreads<T>(use: (cipher: Cipher) => Promise<T>): Promise<T> {
  const cipher = new ThreadedCipher();
  try {
    return await use(cipher);
  } finally {
    await cipher.close();
  }
}
