import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Storage, StorageError, type Stored } from './storage.js';

/** Files that are synced at the same time: a disk orders what it is asked together. */
const SYNCS = 4;

const missing = (error: unknown): undefined => {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
  throw new StorageError(message);
};

/** A folder of this machine, or one that is mounted on it. */
export class FolderStorage implements Storage {
  /** what may be in the memory of the machine alone */
  readonly #unsynced = new Set<string>();

  constructor(readonly location: string) {}

  async read(name: string, into?: Uint8Array): Promise<Uint8Array | undefined> {
    const file = await open(this.#path(name)).catch(missing);
    if (!file) return undefined;
    try {
      const { size } = await file.stat();
      // In one piece, where readFile takes many small ones, and without zeroing it first.
      const content =
        into && size <= into.length ? into : new Uint8Array(Buffer.allocUnsafeSlow(size).buffer);
      const { bytesRead } = await file.read(content, 0, size);
      return content.subarray(0, bytesRead);
    } catch (error) {
      throw new StorageError((error as Error).message);
    } finally {
      await file.close();
    }
  }

  /** Whole or not at all. */
  async write(name: string, content: Uint8Array): Promise<void> {
    const path = this.#path(name);
    const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
    try {
      await mkdir(dirname(path), { recursive: true });
      const file = await open(temporary, 'wx', 0o600);
      try {
        for (let at = 0; at < content.length; ) at += (await file.write(content, at)).bytesWritten;
      } finally {
        await file.close();
      }
      await rename(temporary, path);
      this.#unsynced.add(name);
    } catch (error) {
      throw new StorageError((error as Error).message);
    }
  }

  async size(name: string): Promise<number | undefined> {
    const size = (await stat(this.#path(name)).catch(missing))?.size;
    if (size !== undefined) this.#unsynced.add(name);
    return size;
  }

  async flush(): Promise<void> {
    const names = [...this.#unsynced];
    this.#unsynced.clear();
    const folders = new Set(names.map((name) => dirname(this.#path(name))));
    const paths = [...names.map((name) => this.#path(name)), ...folders];
    const sync = async () => {
      for (let path = paths.shift(); path !== undefined; path = paths.shift()) {
        const file = await open(path);
        await file.datasync().finally(() => file.close());
      }
    };
    await Promise.all(Array.from({ length: SYNCS }, sync)).catch((error) => {
      throw new StorageError(error.message);
    });
  }

  async *list(folder: string): AsyncGenerator<Stored> {
    const entries = (await readdir(this.#path(folder), { withFileTypes: true }).catch(missing)) ?? [];
    for (const entry of entries) {
      const name = folder ? `${folder}/${entry.name}` : entry.name;
      if (entry.isDirectory()) yield* this.list(name);
      else {
        const info = await stat(this.#path(name)).catch(missing);
        if (info) yield { name, written: info.mtimeMs };
      }
    }
  }

  async delete(name: string): Promise<void> {
    await rm(this.#path(name), { force: true });
  }

  async close(): Promise<void> {}

  #path(name: string): string {
    return join(this.location, name);
  }
}
