import { createClient, type FileStat, getPatcher, type WebDAVClient } from 'webdav';
import { bodyOf, failure, isRedirect, redirectOf, timeLimit } from './http.js';
import { attempt, statusOf } from './retry.js';
import { MOST_NAME, type Storage, StorageError, type Stored } from './storage.js';

/**
 * How many folders are listed at the same time: parts are in 256 of them, and an answer takes little room.
 */
const LISTINGS = 16;
/** Most folders of a listing. A server may show folders within folders without an end. */
const MOST_FOLDERS = 10_000;

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** Most bytes of an answer without an object's content: a list of about 16,000 names. */
const MOST_SAID = 16 * 1024 * 1024;

// The library has its own `fetch`, which knows no proxies, and reads answers to the end, even endless ones. It
// takes a redirect for a success.
getPatcher().patch('fetch', async (...call) => {
  const [url, options] = call as Parameters<typeof fetch>;
  const method = options?.method;
  const response = await fetch(url, { ...options, redirect: redirectOf(method) });
  if (isRedirect(response.status)) throw failure(response);
  if (method === 'PROPFIND' && response.headers.get('content-type')?.startsWith('text/html') && response.ok)
    throw new StorageError(
      'this is a web page, and not a WebDAV folder; look at the address, and whether the network asks you to sign in first',
    );
  // Objects' contents are read by this program, up to their longest length.
  if (method === 'GET' || !response.body) return response;
  const body = await bodyOf(response, 'an answer', MOST_SAID);
  return new Response(body as Uint8Array<ArrayBuffer>, response);
});

/** A collection on a WebDAV server (RFC 4918), such as Nextcloud. */
export class WebDavStorage implements Storage {
  readonly parallel = 8;
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

  read(name: string, most: number, into?: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#unlessMissing(async (signal) => {
      const response = await this.#client.customRequest(`/${name}`, { method: 'GET', signal });
      return bodyOf(response as unknown as Parameters<typeof bodyOf>[0], name, most, into);
    });
  }

  async write(name: string, content: Uint8Array): Promise<void> {
    const folder = name.split('/').slice(0, -1).join('/');
    await this.#folder(folder);
    const put = () =>
      this.#attempt((signal) => this.#client.putFileContents(`/${name}`, Buffer.from(content), { signal }));
    try {
      await put();
    } catch (error) {
      // Another program may have deleted the folder since it was made here.
      if (statusOf(error) !== 409 && statusOf(error) !== 404) throw error;
      this.#made.clear();
      await this.#folder(folder);
      await put();
    }
  }

  async size(name: string): Promise<number | undefined> {
    const stat = await this.#unlessMissing((signal) => this.#client.stat(`/${name}`, { signal }));
    return (stat as FileStat | undefined)?.size;
  }

  async *list(folder: string): AsyncGenerator<Stored> {
    let folders = [folder];
    for (let asked = 0; folders.length > 0; ) {
      asked += folders.length;
      const below: string[] = [];
      for (let at = 0; at < folders.length; at += LISTINGS)
        for (const { name, stat } of (
          await Promise.all(folders.slice(at, at + LISTINGS).map((each) => this.#contents(each)))
        ).flat())
          if (stat.type !== 'directory') yield { name, size: stat.size, written: Date.parse(stat.lastmod) };
          else if (asked + below.push(name) > MOST_FOLDERS)
            throw new StorageError(`${this.location} shows more folders than a backup has`);
      folders = below;
    }
  }

  async #contents(folder: string): Promise<{ name: string; stat: FileStat }[]> {
    const found = await this.#unlessMissing((signal) =>
      this.#client.getDirectoryContents(`/${folder}`, { signal }),
    );
    return ((found ?? []) as FileStat[]).map((stat) => {
      const name = folder ? `${folder}/${stat.basename}` : stat.basename;
      if (name.length <= MOST_NAME) return { name, stat };
      throw new StorageError(`${this.location} shows a name of more than ${MOST_NAME} characters`);
    });
  }

  async delete(name: string): Promise<void> {
    await this.#unlessMissing((signal) => this.#client.deleteFile(`/${name}`, { signal }));
  }

  /** Nothing to do: once the server has answered, it has the object. */
  async flush(): Promise<void> {}

  async close(): Promise<void> {}

  /** Makes a collection and those above it, each only once. */
  #folder(folder: string): Promise<void> {
    const known = this.#made.get(folder);
    if (known) return known;
    const made = (async () => {
      if (folder) await this.#folder(folder.split('/').slice(0, -1).join('/'));
      await this.#attempt(async (signal) => {
        try {
          await this.#client.createDirectory(`/${folder}`, { signal });
        } catch (error) {
          // 405: it exists (RFC 4918, section 9.3.1). Some servers refuse to make their own root.
          const refused = statusOf(error) !== 405 && statusOf(error) !== 409;
          const isThere = () => this.#client.exists('/').catch(() => false);
          if (statusOf(error) === 409 || (refused && (folder || !(await isThere())))) throw error;
        }
      });
    })();
    this.#made.set(folder, made);
    made.catch(() => this.#made.delete(folder));
    return made;
  }

  #unlessMissing<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
    return this.#attempt(async (signal) => {
      try {
        return await work(signal);
      } catch (error) {
        if (statusOf(error) === 404) return undefined;
        throw error;
      }
    });
  }

  #attempt<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return attempt(this.location, async () => {
      try {
        return await work(timeLimit());
      } catch (error) {
        const { response } = error as { response?: Parameters<typeof failure>[0] };
        throw response ? failure(response) : error;
      }
    });
  }
}
