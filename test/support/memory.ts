import { createHash } from 'node:crypto';
import { ObjectError, type Storage, StorageError, type Stored } from '../../src/storage/index.js';

/** The objects of a storage in memory, which several {@link MemoryStorage} may share. */
export class Objects {
  readonly content = new Map<string, { bytes: Uint8Array; written: number }>();
  /** the storage's clock, milliseconds */
  now = 1_000_000;

  paths(pattern: RegExp): string[] {
    return [...this.content.keys()].filter((name) => pattern.test(name));
  }

  change(name: string, change: (bytes: Uint8Array) => Uint8Array): void {
    const object = this.content.get(name);
    if (object) this.content.set(name, { ...object, bytes: change(Uint8Array.from(object.bytes)) });
  }
}

/** Runs before a request is done; if it throws, the storage fails with that error. */
export type Hook = (operation: string, name: string) => Promise<void> | void;

export class MemoryStorage implements Storage {
  readonly location = 'memory';
  readonly parallel = 2;
  /** requests that were made: operation and name */
  readonly requests: string[] = [];

  constructor(
    readonly objects = new Objects(),
    readonly hook: Hook = () => undefined,
  ) {}

  async #ask(operation: string, name: string): Promise<void> {
    this.requests.push(`${operation} ${name}`);
    await this.hook(operation, name);
    this.objects.now++;
  }

  async read(name: string, most: number): Promise<Uint8Array | undefined> {
    await this.#ask('read', name);
    const bytes = this.objects.content.get(name)?.bytes;
    if (bytes && bytes.length > most) throw new ObjectError(`${name} is longer than it can be`);
    return bytes && Uint8Array.from(bytes);
  }

  async write(name: string, content: Uint8Array): Promise<void> {
    const bytes = Uint8Array.from(content);
    await this.#ask('write', name);
    this.objects.content.set(name, { bytes, written: this.objects.now });
  }

  async size(name: string): Promise<number | undefined> {
    await this.#ask('size', name);
    return this.objects.content.get(name)?.bytes.length;
  }

  async *list(folder: string): AsyncGenerator<Stored> {
    await this.#ask('list', folder);
    for (const [name, { bytes, written }] of [...this.objects.content])
      if (folder === '' || name.startsWith(`${folder}/`)) yield { name, size: bytes.length, written };
  }

  async delete(name: string): Promise<void> {
    await this.#ask('delete', name);
    this.objects.content.delete(name);
  }

  async flush(): Promise<void> {}
  async close(): Promise<void> {}
}

/** Lets requests of several programs through one at a time, in random order. */
export class Turns {
  readonly #waiting: { owner: string; go(): void; fail(error: Error): void }[] = [];
  readonly #dead = new Set<string>();
  #running = false;

  constructor(readonly random: () => number) {}

  /** A hook for one of the programs. @param lives how many requests it makes before it stops for ever */
  of(owner: string, lives = Number.POSITIVE_INFINITY): Hook {
    let left = lives;
    return () =>
      new Promise<void>((resolve, reject) => {
        if (left-- <= 0) this.#dead.add(owner);
        if (this.#dead.has(owner)) return reject(new StorageError('killed'));
        this.#waiting.push({ owner, go: resolve, fail: reject });
        this.#schedule();
      });
  }

  #schedule(): void {
    if (this.#running) return;
    this.#running = true;
    setImmediate(() => {
      this.#running = false;
      const at = Math.floor(this.random() * this.#waiting.length);
      const [next] = this.#waiting.splice(at, 1);
      next?.go();
      if (this.#waiting.length > 0) this.#schedule();
    });
  }
}

/** A source of entries in memory: text by path. */
export function source(files: Record<string, string | Uint8Array>) {
  return () =>
    Object.keys(files)
      .sort()
      .map((path) => {
        const bytes = Buffer.from(files[path] as string);
        return {
          path,
          type: 'file' as const,
          mode: 0o600,
          // Different content gets a different time.
          mtime: createHash('sha256').update(bytes).digest().readUInt32BE(),
          size: bytes.length,
          open: async () => {
            let at = 0;
            return {
              read: (into: Uint8Array) => {
                const piece = bytes.subarray(at, at + into.length);
                into.set(piece);
                at += piece.length;
                return piece.length;
              },
              close: async () => undefined,
            };
          },
        };
      });
}

/** A destination in memory. */
export class Shelf {
  readonly files: Record<string, string> = {};

  make(): void {}

  begin({ path }: { path: string }) {
    const pieces: Uint8Array[] = [];
    return {
      write: (piece: Uint8Array) => void pieces.push(Uint8Array.from(piece)),
      end: () => {
        this.files[path] = Buffer.concat(pieces).toString();
      },
      discard: () => undefined,
    };
  }
}
