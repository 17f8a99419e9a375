import { unzipSync, zipSync } from 'fflate';
import type { Storage, Stored } from '../storage/index.js';

/** A backup in the memory of the page, which goes out and comes in as one file. */
export class ArchiveStorage implements Storage {
  readonly location = 'the file';
  readonly parallel = 1;
  readonly #objects: Map<string, Uint8Array<ArrayBuffer>>;

  /** @param archive what {@link archive} gave. @throws when it is not such a file */
  constructor(archive?: Uint8Array) {
    const entries = archive ? Object.entries(unzipSync(archive)) : [];
    this.#objects = new Map(entries.map(([name, content]) => [name, Uint8Array.from(content)]));
  }

  archive(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(zipSync(Object.fromEntries(this.#objects), { level: 0 }));
  }

  async read(name: string): Promise<Uint8Array | undefined> {
    return this.#objects.get(name);
  }

  async write(name: string, content: Uint8Array): Promise<void> {
    this.#objects.set(name, Uint8Array.from(content));
  }

  async size(name: string): Promise<number | undefined> {
    return this.#objects.get(name)?.length;
  }

  async *list(folder: string): AsyncGenerator<Stored> {
    for (const name of [...this.#objects.keys()])
      if (folder === '' || name.startsWith(`${folder}/`))
        yield { name, size: this.#objects.get(name)?.length ?? 0, written: Date.now() };
  }

  async delete(name: string): Promise<void> {
    this.#objects.delete(name);
  }

  async flush(): Promise<void> {}
  async close(): Promise<void> {}
}

const isMissing = (error: unknown): boolean =>
  error instanceof DOMException && error.name === 'NotFoundError';

/** A folder that the person has chosen (File System Access). */
export class DirectoryStorage implements Storage {
  readonly location: string;
  readonly parallel = 4;
  readonly #root: FileSystemDirectoryHandle;

  constructor(root: FileSystemDirectoryHandle) {
    this.#root = root;
    this.location = `the folder ${root.name}`;
  }

  async read(name: string): Promise<Uint8Array | undefined> {
    const file = await this.#file(name);
    return file && new Uint8Array(await file.arrayBuffer());
  }

  /** The browser puts it in place when it is whole. */
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
        const { size, lastModified } = await (handle as FileSystemFileHandle).getFile();
        yield { name: path, size, written: lastModified };
      }
    }
  }

  async delete(name: string): Promise<void> {
    const folder = await this.#folder(name.split('/').slice(0, -1), false);
    await folder?.removeEntry(name.split('/').at(-1) as string).catch((error) => {
      if (!isMissing(error)) throw error;
    });
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
