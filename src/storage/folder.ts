import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
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
  /** what is being written to the disk beside other work */
  readonly #syncing = new Set<Promise<void>>();
  #failed: Error | undefined;

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
        await rename(temporary, path);
      } finally {
        this.#sync(file);
      }
      this.#unsynced.add(dirname(name));
      if (this.#syncing.size >= SYNCS) await Promise.race(this.#syncing);
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
    try {
      for (const name of new Set([...names, ...names.map(dirname), '.'])) {
        this.#sync(await open(this.#path(name)));
        if (this.#syncing.size >= SYNCS) await Promise.race(this.#syncing);
      }
    } catch (error) {
      throw new StorageError((error as Error).message);
    }
    await Promise.all(this.#syncing);
    if (this.#failed) throw new StorageError(this.#failed.message);
  }

  /** Has a file written to the disk, and closes it. */
  #sync(file: FileHandle): void {
    const syncing = file
      .datasync()
      .finally(() => file.close())
      .catch((error) => {
        this.#failed ??= error;
      });
    this.#syncing.add(syncing);
    void syncing.finally(() => this.#syncing.delete(syncing));
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
