import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Storage, StorageError, type Stored } from './storage.js';

const missing = (error: unknown): undefined => {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
  throw new StorageError(message);
};

/** A folder of this machine, or one that is mounted on it. */
export class FolderStorage implements Storage {
  constructor(readonly location: string) {}

  read(name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return readFile(this.#path(name)).catch(missing);
  }

  /** Whole or not at all, and on disk when it returns. */
  async write(name: string, content: Uint8Array): Promise<void> {
    const path = this.#path(name);
    const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
    try {
      await mkdir(dirname(path), { recursive: true });
      const file = await open(temporary, 'wx', 0o600);
      try {
        await file.writeFile(content);
        await file.datasync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
    } catch (error) {
      throw new StorageError((error as Error).message);
    }
  }

  async size(name: string): Promise<number | undefined> {
    return (await stat(this.#path(name)).catch(missing))?.size;
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
