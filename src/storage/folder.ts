import { randomBytes } from 'node:crypto';
import { constants, readdirSync, statSync } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { ObjectError, type Storage, StorageError, type Stored } from './storage.js';

/** Bytes that are written at a time: ext4 takes several times as long for 4 MiB at once. */
const SLICE = 512 * 1024;
/** How many files are synced at the same time: a disk orders requests that arrive together. */
const SYNCS = 4;
/** After this time the system itself has written a file to the disk. */
const WRITTEN_BACK_MS = 3_600_000;
/** Names of files that an interrupted write leaves, and the age from which a write is no longer under way. */
const TEMPORARY = /\.[0-9a-f]{8}\.tmp$/;
const LEFT_OVER_MS = 24 * 3_600_000;
/** Some file systems (CIFS, FUSE) have no sync, or none for folders. */
const NO_SYNC = ['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EISDIR', 'EPERM', 'EACCES', 'EBADF'];

/** Opening a pipe in the place of a file would wait for its other end. */
const { O_RDONLY, O_NONBLOCK = 0 } = constants;
const TO_READ = O_RDONLY | O_NONBLOCK;

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? '';

const missing = (error: unknown): undefined => {
  if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined;
  throw new ObjectError((error as Error).message);
};

const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'make room, run bkv prune, or name another place',
  EDQUOT: 'make room, run bkv prune, or name another place',
  EACCES: 'name a place that you may write to',
  EPERM: 'name a place that you may write to',
  EROFS: 'name a place that can be written to',
  ENOENT: 'name a place where folders can be made',
  ENOTDIR: 'name a folder, not a file',
};

/** Asks the system on this thread: for many small questions the way to another thread costs most. */
function now<T>(ask: () => T): T | undefined {
  try {
    return ask();
  } catch (error) {
    return missing(error);
  }
}

function failed(error: unknown): StorageError {
  const { message } = error as Error;
  const remedy = REMEDIES[codeOf(error) ?? ''];
  return new StorageError(remedy ? `${message}; ${remedy}` : message);
}

/**
 * Makes a folder and those above it. Node.js's own function says on a read-only disk that a folder is missing,
 * and never ends where no folders can be made, such as in /proc.
 */
async function makeFolder(path: string): Promise<void> {
  const make = () =>
    mkdir(path).catch((error) => {
      if (codeOf(error) !== 'EEXIST') throw error;
    });
  try {
    await make();
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    await makeFolder(dirname(path));
    await make();
  }
}

/** A folder on this machine, or one that is mounted on it. */
export class FolderStorage implements Storage {
  readonly parallel = availableParallelism() + 2;
  /** what may only be in the machine's memory yet */
  readonly #unsynced = new Set<string>();
  /** objects that were written here, and are on the disk or on the way there */
  readonly #own = new Set<string>();
  /** what is being written to the disk in the background */
  readonly #syncing = new Set<Promise<void>>();
  readonly #leftOver = new Set<string>();
  #failed: Error | undefined;

  constructor(readonly location: string) {}

  get folder(): string {
    return this.location;
  }

  async read(name: string, most: number, into?: Uint8Array): Promise<Uint8Array | undefined> {
    const file = await open(this.#path(name), TO_READ).catch(missing);
    if (!file) return undefined;
    try {
      const info = await file.stat();
      if (!info.isFile()) throw new ObjectError(`${this.#path(name)} is not a file`);
      const { size } = info;
      if (size > most) throw new ObjectError(`${this.#path(name)} is longer than it can be`);
      // Reads in one piece, while readFile reads many small ones, and without zeroing the buffer first.
      const content =
        into && size <= into.length ? into : new Uint8Array(Buffer.allocUnsafeSlow(size).buffer);
      let length = 0;
      for (let bytes = -1; length < size && bytes !== 0; length += bytes)
        bytes = (await file.read(content, length, size - length)).bytesRead;
      return content.subarray(0, length);
    } catch (error) {
      throw error instanceof ObjectError ? error : new ObjectError((error as Error).message);
    } finally {
      await file.close();
    }
  }

  /** Writes completely or not at all. */
  write(name: string, content: Uint8Array): Promise<void> {
    return this.#write(name, async (file) => {
      for (let at = 0; at < content.length; ) {
        const length = Math.min(SLICE, content.length - at);
        at += (await file.write(content, at, length)).bytesWritten;
      }
    });
  }

  fill(name: string, put: (file: number) => Promise<void>): Promise<void> {
    return this.#write(name, ({ fd }) => put(fd));
  }

  async #write(name: string, put: (file: FileHandle) => Promise<void>): Promise<void> {
    const path = this.#path(name);
    const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
    try {
      const file = await this.#create(temporary);
      try {
        await put(file);
        await rename(temporary, path);
      } catch (error) {
        await rm(temporary, { force: true }).catch(() => undefined);
        throw error;
      } finally {
        this.#sync(file);
      }
      this.#own.add(name);
      this.#unsynced.add(dirname(name));
      if (this.#syncing.size >= SYNCS) await Promise.race(this.#syncing);
    } catch (error) {
      throw failed(error);
    }
  }

  async #create(path: string): Promise<FileHandle> {
    try {
      return await open(path, 'wx', 0o600);
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
      await makeFolder(dirname(path));
      return open(path, 'wx', 0o600);
    }
  }

  async size(name: string): Promise<number | undefined> {
    return (await stat(this.#path(name)).catch(missing))?.size;
  }

  async flush(): Promise<void> {
    const names = [...this.#unsynced];
    this.#unsynced.clear();
    try {
      for (const name of new Set([...names, ...names.map(dirname), '.'])) {
        const file = await this.#openToSync(name);
        if (file) this.#sync(file);
        if (this.#syncing.size >= SYNCS) await Promise.race(this.#syncing);
      }
    } catch (error) {
      throw failed(error);
    }
    await Promise.all(this.#syncing);
    if (this.#failed) throw failed(this.#failed);
    for (const name of this.#leftOver) await rm(this.#path(name), { force: true }).catch(() => undefined);
    this.#leftOver.clear();
  }

  async #openToSync(name: string): Promise<FileHandle | undefined> {
    try {
      return await open(this.#path(name));
    } catch (error) {
      // It was deleted since, or is a folder, and this system does not open folders.
      if (codeOf(error) === 'ENOENT' || NO_SYNC.includes(codeOf(error))) return undefined;
      throw error;
    }
  }

  /** Syncs a file to the disk, and closes it. */
  #sync(file: FileHandle): void {
    const syncing = file
      .datasync()
      .finally(() => file.close())
      .catch((error) => {
        if (!NO_SYNC.includes(codeOf(error))) this.#failed ??= error;
      });
    this.#syncing.add(syncing);
    void syncing.finally(() => this.#syncing.delete(syncing));
  }

  async *list(folder: string): AsyncGenerator<Stored> {
    for (const entry of now(() => readdirSync(this.#path(folder), { withFileTypes: true })) ?? []) {
      const name = folder ? `${folder}/${entry.name}` : entry.name;
      if (entry.isDirectory()) {
        yield* this.list(name);
        continue;
      }
      const info = now(() => statSync(this.#path(name)));
      if (!info?.isFile()) continue;
      const age = Date.now() - info.mtimeMs;
      if (TEMPORARY.test(name)) {
        if (age > LEFT_OVER_MS) this.#leftOver.add(name);
        continue;
      }
      if (age < WRITTEN_BACK_MS && !this.#own.has(name)) this.#unsynced.add(name);
      yield { name, size: info.size, written: info.mtimeMs };
    }
  }

  async delete(name: string): Promise<void> {
    await rm(this.#path(name), { force: true }).catch((error) => {
      throw failed(error);
    });
  }

  async close(): Promise<void> {}

  #path(name: string): string {
    return join(this.location, name);
  }
}
