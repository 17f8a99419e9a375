import { createClient, type FileStat, type WebDAVClient } from 'webdav';
import { attempt, statusOf } from './retry.js';
import { type Storage, StorageError, type Stored } from './storage.js';

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** A collection on a WebDAV server (RFC 4918), as Nextcloud and many others have it. */
export class WebDavStorage implements Storage {
  readonly #client: WebDAVClient;
  readonly #made = new Map<string, Promise<void>>();

  /** @param location for messages @param url of the collection */
  constructor(
    readonly location: string,
    url: string,
    credentials: Credentials | undefined,
  ) {
    const { username, password } = new URL(url);
    if (username || password)
      throw new StorageError('an address shows its password to everybody on this machine; use variables');
    this.#client = createClient(url, { ...credentials });
  }

  async read(name: string): Promise<Uint8Array | undefined> {
    const content = await this.#unlessMissing(() => this.#client.getFileContents(`/${name}`));
    return content === undefined ? undefined : Buffer.from(content as ArrayBuffer);
  }

  async write(name: string, content: Uint8Array): Promise<void> {
    const folder = name.split('/').slice(0, -1).join('/');
    await this.#folder(folder);
    await this.#attempt(() => this.#client.putFileContents(`/${name}`, Buffer.from(content)));
  }

  async size(name: string): Promise<number | undefined> {
    const stat = await this.#unlessMissing(() => this.#client.stat(`/${name}`));
    return (stat as FileStat | undefined)?.size;
  }

  async *list(folder: string): AsyncGenerator<Stored> {
    const entries = await this.#unlessMissing(() => this.#client.getDirectoryContents(`/${folder}`));
    for (const { type, basename, lastmod } of (entries as FileStat[] | undefined) ?? []) {
      const name = folder ? `${folder}/${basename}` : basename;
      if (type === 'directory') yield* this.list(name);
      else yield { name, written: Date.parse(lastmod) };
    }
  }

  async delete(name: string): Promise<void> {
    await this.#unlessMissing(() => this.#client.deleteFile(`/${name}`));
  }

  /** The server has it when it has answered. */
  async flush(): Promise<void> {}

  async close(): Promise<void> {}

  /** Makes a collection and those above it, each once. */
  #folder(folder: string): Promise<void> {
    const known = this.#made.get(folder);
    if (known) return known;
    const made = (async () => {
      if (folder) await this.#folder(folder.split('/').slice(0, -1).join('/'));
      await this.#attempt(async () => {
        try {
          await this.#client.createDirectory(`/${folder}`);
        } catch (error) {
          if (statusOf(error) === 409)
            throw new StorageError('the folder above it is not there; make it first', { cause: error });
          // 405: it is there (RFC 4918, section 9.3.1). Some servers refuse to make what is their root.
          if (statusOf(error) !== 405 && (folder || !(await this.#client.exists('/')))) throw error;
        }
      });
    })();
    this.#made.set(folder, made);
    made.catch(() => this.#made.delete(folder));
    return made;
  }

  #unlessMissing<T>(work: () => Promise<T>): Promise<T | undefined> {
    return this.#attempt(async () => {
      try {
        return await work();
      } catch (error) {
        if (statusOf(error) === 404) return undefined;
        throw error;
      }
    });
  }

  #attempt<T>(work: () => Promise<T>): Promise<T> {
    return attempt(this.location, work);
  }
}
