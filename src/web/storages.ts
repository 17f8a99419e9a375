import { unzipSync, zipSync } from 'fflate';
import { type BackupKey, snapshots, Unopened } from '../backup/index.js';
import { ObjectError, type Storage, type Stored } from '../storage/storage.js';

/**
 * What is in a storage: a backup; a backup that was begun and has its key; nothing yet; or something that is
 * not a backup.
 */
export async function contentOf(
  storage: Storage,
): Promise<'backup' | 'unfinished' | 'nothing' | 'something else'> {
  for await (const _ of storage.list('snapshots')) return 'backup';
  for await (const _ of storage.list('openers')) return 'unfinished';
  if ((await storage.size('bkv-backup.json')) !== undefined) return 'nothing';
  for await (const _ of storage.list('')) return 'something else';
  return 'nothing';
}

/** Whether something opens the backup in a storage. @throws BackupError when it is damaged */
export async function opens(storage: Storage, key: BackupKey): Promise<boolean> {
  try {
    const { snapshots: opened, damaged } = await snapshots(storage, key);
    return opened.length > 0 || damaged.length === 0;
  } catch (error) {
    if (error instanceof Unopened) return false;
    throw error;
  }
}

/** @throws ObjectError when an object is longer than it may be */
function checkLength<T>(name: string, object: T | undefined, length: (object: T) => number, most: number) {
  if (object !== undefined && length(object) > most)
    throw new ObjectError(`${name} is longer than it may be`);
  return object;
}

/** A backup in the memory of the page, which is saved and loaded as one file. */
export class ArchiveStorage implements Storage {
  readonly location = 'the file';
  readonly parallel = 1;
  readonly #objects: Map<string, Uint8Array<ArrayBuffer>>;

  /** @param archive a file from {@link archive} @throws when it is not such a file */
  constructor(archive?: Uint8Array) {
    const entries = archive ? Object.entries(unzipSync(archive)) : [];
    this.#objects = new Map(entries.map(([name, content]) => [name, Uint8Array.from(content)]));
  }

  archive(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(zipSync(Object.fromEntries(this.#objects), { level: 0 }));
  }

  async read(name: string, most: number): Promise<Uint8Array | undefined> {
    return checkLength(name, this.#objects.get(name), (content) => content.length, most);
  }

  async write(name: string, content: Uint8Array): Promise<void> {
    this.#objects.set(name, Uint8Array.from(content));
  }

  async size(name: string): Promise<number | undefined> {
    return this.#objects.get(name)?.length;
  }

  async *list(folder: string): AsyncGenerator<Stored> {
    for (const [name, { length }] of [...this.#objects])
      if (folder === '' || name.startsWith(`${folder}/`)) yield { name, size: length, written: Date.now() };
  }

  async delete(name: string): Promise<void> {
    this.#objects.delete(name);
  }

  async flush(): Promise<void> {}
  async close(): Promise<void> {}
}

const isMissing = (error: unknown): boolean =>
  error instanceof DOMException && error.name === 'NotFoundError';

/** A folder that the user has chosen (File System Access). */
export class DirectoryStorage implements Storage {
  readonly location: string;
  readonly parallel = 4;
  readonly name: string;
  readonly #root: FileSystemDirectoryHandle;

  constructor(root: FileSystemDirectoryHandle) {
    this.#root = root;
    this.name = root.name;
    this.location = `the folder ${root.name}`;
  }

  /** Asks the user, if the folder was chosen only for reading. @throws DOMException `NotAllowedError` */
  async allowWriting(): Promise<void> {
    const root = this.#root as { requestPermission?(what: { mode: 'readwrite' }): Promise<string> };
    if ((await root.requestPermission?.({ mode: 'readwrite' })) === 'denied')
      throw new DOMException('the folder may not be written to', 'NotAllowedError');
  }

  async read(name: string, most: number): Promise<Uint8Array | undefined> {
    const file = checkLength(name, await this.#file(name), ({ size }) => size, most);
    return file && new Uint8Array(await file.arrayBuffer());
  }

  /** Writes an object; the browser puts it in place when it is complete. */
  async write(name: string, content: Uint8Array): Promise<void> {
    const folder = await this.#folder(name.split('/').slice(0, -1), true);
    const handle = await folder?.getFileHandle(name.split('/').at(-1) as string, { create: true });
    const stream = await (handle as FileSystemFileHandle).createWritable();
    await stream.write(content as Uint8Array<ArrayBuffer>);
    await stream.close();
  }

  async size(name: string): Promise<number | undefined> {
    return (await this.#file(name))?.size;
  }

  async *list(folder: string): AsyncGenerator<Stored> {
    const root = await this.#folder(folder.split('/').filter(Boolean), false);
    if (!root) return;
    for await (const [name, handle] of root.entries()) {
      const path = folder ? `${folder}/${name}` : name;
      if (handle.kind === 'directory') yield* this.list(path);
      else {
        const file = await this.#file(path);
        if (file) yield { name: path, size: file.size, written: file.lastModified };
      }
    }
  }

  async delete(name: string): Promise<void> {
    const folder = await this.#folder(name.split('/').slice(0, -1), false);
    try {
      await folder?.removeEntry(name.split('/').at(-1) as string);
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }

  async flush(): Promise<void> {}
  async close(): Promise<void> {}

  async #file(name: string): Promise<File | undefined> {
    const segments = name.split('/');
    const folder = await this.#folder(segments.slice(0, -1), false);
    try {
      return await (await folder?.getFileHandle(segments.at(-1) as string))?.getFile();
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async #folder(segments: string[], create: boolean): Promise<FileSystemDirectoryHandle | undefined> {
    let folder = this.#root;
    try {
      for (const segment of segments) folder = await folder.getDirectoryHandle(segment, { create });
    } catch (error) {
      if (!create && isMissing(error)) return undefined;
      throw error;
    }
    return folder;
  }
}
