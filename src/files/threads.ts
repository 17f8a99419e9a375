import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { BackupError, Format, type FormatKeys, PART_BYTES, TAG_BYTES } from '../backup/index.js';
import type { Answer, Request } from './thread.js';

/** A smaller part costs less than the way to another thread and back. */
const SMALL = 256 * 1024;

/** The {@link Format} of a backup whose parts are named, sealed and opened in place, by threads of their own. */
class ThreadedFormat extends Format {
  readonly #key: { backupKey: Uint8Array; salt: Uint8Array };
  readonly #threads: Worker[] = [];
  readonly #waiting = new Map<number, { resolve(answer: Answer): void; reject(error: Error): void }>();
  #count = 0;

  private constructor(keys: FormatKeys, key: { backupKey: Uint8Array; salt: Uint8Array }) {
    super(keys);
    this.#key = key;
  }

  static override async of(backupKey: Uint8Array, salt: Uint8Array): Promise<ThreadedFormat> {
    return new ThreadedFormat(await Format.keysOf(backupKey, salt), {
      backupKey: Uint8Array.from(backupKey),
      salt,
    });
  }

  override buffer(): Uint8Array {
    return new Uint8Array(new SharedArrayBuffer(PART_BYTES + TAG_BYTES));
  }

  override async partName(plaintext: Uint8Array): Promise<string> {
    if (plaintext.length < SMALL) return super.partName(plaintext.slice());
    return (await this.#ask('name', '', plaintext)).name as string;
  }

  override async sealPart(name: string, plaintext: Uint8Array): Promise<Uint8Array> {
    if (plaintext.length < SMALL) return super.sealPart(name, Uint8Array.from(plaintext));
    return (await this.#ask('seal', name, plaintext)).bytes as Uint8Array;
  }

  override async openPart(name: string, sealed: Uint8Array): Promise<Uint8Array> {
    if (sealed.length < SMALL) return super.openPart(name, sealed.slice());
    const { bytes } = await this.#ask('open', name, sealed);
    if (!bytes) throw new BackupError(`part ${name} is damaged, or of another key`);
    return bytes;
  }

  async close(): Promise<void> {
    this.#key.backupKey.fill(0);
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }

  #ask(work: Request['work'], name: string, bytes: Uint8Array): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const id = this.#count++;
      this.#waiting.set(id, { resolve, reject });
      this.#thread(id).postMessage({ id, work, name, bytes } satisfies Request);
    });
  }

  #thread(id: number): Worker {
    const at = id % availableParallelism();
    const known = this.#threads[at];
    if (known) return known;
    const thread = new Worker(new URL('./thread.js', import.meta.url), { workerData: this.#key });
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

/** Lends what uses a backup a {@link Format} with threads, which end with it. */
export async function withThreads<T>(use: (formatOf: typeof Format.of) => Promise<T>): Promise<T> {
  const made: ThreadedFormat[] = [];
  try {
    return await use(async (backupKey, salt) => {
      const format = await ThreadedFormat.of(backupKey, salt);
      made.push(format);
      return format;
    });
  } finally {
    for (const format of made) await format.close();
  }
}
