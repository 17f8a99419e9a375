import { zipSync } from 'fflate';
import type { Destination } from '../backup/index.js';

const PICTURE = /\.(jpe?g|png|gif|webp|avif)$/i;
/** Most previews: more would fill the memory of a phone. */
const PREVIEWS = 100;
const basename = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** Has the browser save a file. The link can be pressed again until it is released. */
export function offer(link: HTMLAnchorElement, name: string, content: Blob): void {
  if (link.href) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(content);
  link.download = name;
}

/** Restored files, each shown with a link, pictures as pictures. */
export class Shelf implements Destination {
  readonly #list: HTMLElement;
  readonly #files = new Map<string, Blob>();

  constructor(list: HTMLElement) {
    this.#list = list;
  }

  get size(): number {
    return this.#files.size;
  }

  /** Releases everything on the shelf. */
  clear(): void {
    for (const link of this.#list.querySelectorAll('a')) URL.revokeObjectURL(link.href);
    this.#list.replaceChildren();
    this.#files.clear();
  }

  async make(): Promise<void> {}

  async begin({ path }: { path: string }) {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    return {
      write: async (piece: Uint8Array) => void pieces.push(Uint8Array.from(piece)),
      discard: async () => undefined,
      end: async () => this.#put(path, new Blob(pieces)),
    };
  }

  /** All files as one archive, in their folders. */
  async zip(): Promise<Blob> {
    const contents: Record<string, Uint8Array> = {};
    for (const [path, blob] of this.#files) contents[path] = new Uint8Array(await blob.arrayBuffer());
    return new Blob([zipSync(contents, { level: 0 }) as Uint8Array<ArrayBuffer>]);
  }

  #put(path: string, content: Blob): void {
    this.#files.set(path, content);
    const link = document.createElement('a');
    link.textContent = path;
    offer(link, basename(path), content);
    const item = document.createElement('li');
    item.append(link);
    if (PICTURE.test(path) && this.#list.querySelectorAll('img').length < PREVIEWS)
      item.append(Object.assign(document.createElement('img'), { src: link.href, alt: '', loading: 'lazy' }));
    this.#list.append(item);
  }
}
