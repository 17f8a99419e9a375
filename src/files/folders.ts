import { closeSync, constants, existsSync, fstatSync, lstatSync, openSync } from 'node:fs';
import { toBytes } from './names.js';

/** Linux: an open folder can be named here, whatever its path leads to by now. */
const DESCRIPTORS = '/proc/self/fd';
/** Linux: opens a place without the right to read it. */
const O_PATH = 0o10_000_000;
const { O_DIRECTORY = 0, O_NOFOLLOW = 0 } = constants;
/** How many folders are kept open: those that were used last. */
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
 * The folders of a tree, even if another program replaces them meanwhile: none is reached through a link, and
 * none is a different folder than before. On Linux the folders are held open, which also allows paths of any
 * length. Elsewhere all folders above are checked before every use, which leaves a short gap.
 */
export class Folders {
  readonly #known = new Map<string, Identity>();
  /** ordered by use: the last used folder comes last */
  readonly #open = new Map<string, number>();

  /** @param root path of the tree, which may be a link */
  constructor(
    readonly root: string,
    readonly byDescriptor = process.platform === 'linux' && existsSync(DESCRIPTORS),
  ) {}

  /** The folder itself. @throws when it is not a folder, or not the same as before */
  folder(path: string): string | Buffer {
    if (this.byDescriptor) return `${DESCRIPTORS}/${this.#descriptor(path)}`;
    this.#look(path);
    return this.#plain(path);
  }

  /** An entry in its folder, not for calls that follow links. @throws as {@link folder} */
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

  /** Checks a folder and those above it. */
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
