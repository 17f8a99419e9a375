import { closeSync, constants, existsSync, fstatSync, lstatSync, openSync } from 'node:fs';
import { toBytes } from './names.js';

/** Linux names an open folder here, whatever its path leads to by now. */
const DESCRIPTORS = '/proc/self/fd';
/** Linux: names a place, and asks for no right to read it. */
const O_PATH = 0o10_000_000;
const { O_DIRECTORY = 0, O_NOFOLLOW = 0 } = constants;
/** Folders that are kept open, the last used ones. */
const OPEN_AT_ONCE = 64;

export const parentOf = (path: string): string =>
  path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** The system's message, without the internal path of an open folder. */
export const withoutPlace = (reason: string): string =>
  reason.replace(new RegExp(`, \\w+ '${DESCRIPTORS}/.*$`, 's'), '');

interface Identity {
  readonly dev: number;
  readonly ino: number;
}

/**
 * The folders of a tree, whatever another program puts in their place meanwhile: none is reached through a link, and none
 * is another one than before. Linux does that by open folders, which also takes paths of any length. Elsewhere each folder
 * above is looked at before every use, which leaves an instant between.
 */
export class Folders {
  readonly #known = new Map<string, Identity>();
  /** the last used one last */
  readonly #open = new Map<string, number>();

  /** @param root what it is reached by, which may be a link */
  constructor(
    readonly root: string,
    readonly byDescriptor = process.platform === 'linux' && existsSync(DESCRIPTORS),
  ) {}

  /** The folder itself. @throws when it is none, or another one than before */
  folder(path: string): string | Buffer {
    if (this.byDescriptor) return `${DESCRIPTORS}/${this.#descriptor(path)}`;
    this.#look(path);
    return this.#plain(path);
  }

  /** Something in its folder: not for calls that follow links. @throws as {@link folder} */
  entry(path: string): string | Buffer {
    if (path === '') return this.folder('');
    if (!this.byDescriptor) {
      this.#look(parentOf(path));
      return this.#plain(path);
    }
    return toBytes(`${DESCRIPTORS}/${this.#descriptor(parentOf(path))}/${nameOf(path)}`);
  }

  /** Forgets a folder that is not used any more. */
  leave(path: string): void {
    const file = this.#open.get(path);
    if (file !== undefined) closeSync(file);
    this.#open.delete(path);
    this.#known.delete(path);
  }

  close(): void {
    for (const file of this.#open.values()) closeSync(file);
    this.#open.clear();
  }

  #plain(path: string): string | Buffer {
    return toBytes(path === '' ? this.root : `${this.root}/${path}`);
  }

  #descriptor(path: string): number {
    let file = this.#open.get(path);
    if (file === undefined) {
      const place = path === '' ? toBytes(this.root) : this.entry(path);
      file = openSync(place, O_PATH | O_DIRECTORY | (path === '' ? 0 : O_NOFOLLOW));
      try {
        this.#identify(path, fstatSync(file));
      } catch (error) {
        closeSync(file);
        throw error;
      }
    } else this.#open.delete(path);
    this.#open.set(path, file);
    for (const [oldest, its] of this.#open) {
      if (this.#open.size <= OPEN_AT_ONCE) break;
      closeSync(its);
      this.#open.delete(oldest);
    }
    return file;
  }

  /** Looks at a folder and those above it. */
  #look(path: string): void {
    if (path !== '') this.#look(parentOf(path));
    const info = lstatSync(this.#plain(path));
    if (!info.isDirectory() && path !== '') throw new Error(`${path} is no longer a folder`);
    this.#identify(path, info);
  }

  #identify(path: string, { dev, ino }: Identity): void {
    const known = this.#known.get(path);
    if (known && (known.dev !== dev || known.ino !== ino))
      throw new Error(`${path || this.root} was replaced by another folder meanwhile`);
    if (!known) this.#known.set(path, { dev, ino });
  }
}
