import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  type Stats,
} from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import type { FileInfo, OpenFile, SourceEntry } from '../backup/index.js';
import { Folders } from './folders.js';
import { isHole } from './holes.js';
import { fromBytes, isDoubtful, toBytes } from './names.js';
import { type ExtendedAttributes, readXattr } from './xattr.js';

// Files are read on the main thread. For thousands of small files, a trip to another thread costs more than
// the reading, and the other threads are busy with encryption.

/** A tick of the system's clock, milliseconds: a file that changed twice within one looks unchanged. */
const TICK = 20;
/** Most bytes that are read at a time: files of /proc/sys refuse larger buffers. */
const MOST_AT_ONCE = 1024 * 1024;
/** Bytes of a block, as the system counts them. */
const BLOCK = 512;
/** Characters of a path that the system is sure to accept, even with three bytes a character. */
const SHORT = 1300;
const CACHE_TAG = 'Signature: 8a477f597d28d172789f06886806bc55';

export interface WalkOptions {
  /** whether a path, and so everything below it, is left out */
  readonly isExcluded: (path: string) => boolean;
  /** caches that are marked as such (CACHEDIR.TAG) are not left out */
  readonly withCaches: boolean;
  /** the folder of the backup, which is not entered; asked when a walk begins */
  readonly except: () => Stats | undefined;
  /** is told what is left out on purpose */
  readonly onSkip: (path: string, reason: string) => void;
}

const micro = (ms: number): number => Math.round(ms * 1000) / 1000;
const reasonOf = (error: unknown): string => (error as Error).message;

function kindOf(info: Stats): string {
  if (info.isFIFO()) return 'a FIFO';
  if (info.isSocket()) return 'a socket';
  return info.isFile() ? 'a file' : 'a device';
}

/**
 * Walks a folder: entries are sorted, folders come before what they hold. If another program replaces a
 * folder by a link, nothing is read through the link, neither names nor contents.
 */
export class Walk {
  #folders: Folders;
  readonly #inodes = new Map<string, number>();
  /** how often the system refused extended attributes, by error code: a network drive may refuse all */
  readonly #unread = new Map<string, number>();
  #except: Stats | undefined;

  constructor(
    readonly root: string,
    readonly options: WalkOptions,
  ) {
    this.#folders = new Folders(root);
  }

  *[Symbol.iterator](): Generator<SourceEntry> {
    this.#inodes.clear();
    this.#unread.clear();
    this.#except = this.options.except();
    this.#folders = new Folders(this.root);
    try {
      yield* this.#folder('', lstatSync(this.root));
      for (const [code, count] of this.#unread)
        this.options.onSkip('', `extended attributes or ACLs that cannot be read, ${count} times ${code}`);
    } finally {
      this.#folders.close();
    }
  }

  /** Bytes of all files together. */
  total(): number {
    let total = 0;
    for (const entry of new Walk(this.root, { ...this.options, onSkip: () => undefined }))
      if (entry.type === 'file') total += entry.size;
    return total;
  }

  *#folder(path: string, info: Stats): Generator<SourceEntry> {
    const { mode, mtime, uid, gid } = attributesOf(info);
    let names: string[];
    try {
      names = this.#names(path);
    } catch (error) {
      yield { path, type: 'left out', reason: reasonOf(error) };
      return;
    }
    yield { path, type: 'directory', mode, mtime, ...owner(uid, gid), ...this.#xattr(path) };
    if (!this.options.withCaches && names.includes('CACHEDIR.TAG') && this.#isCache(path)) {
      this.options.onSkip(path, 'a cache (CACHEDIR.TAG)');
      return;
    }
    for (const name of names) yield* this.#entry(path === '' ? name : `${path}/${name}`);
    this.#folders.leave(path);
  }

  #names(path: string): string[] {
    const full = this.#folders.folder(path);
    const names = readdirSync(full);
    // As text, a name loses bytes that are not UTF-8. In that case its bytes are read.
    return (names.some(isDoubtful) ? readdirSync(full, { encoding: 'buffer' }).map(fromBytes) : names).sort();
  }

  *#entry(path: string): Generator<SourceEntry> {
    if (this.options.isExcluded(path)) return;
    try {
      const info = lstatSync(this.#near(path));
      if (info.isDirectory()) {
        if (info.dev === this.#except?.dev && info.ino === this.#except.ino)
          this.options.onSkip(path, 'this backup itself');
        else yield* this.#folder(path, info);
      } else if (info.isSymbolicLink()) {
        const { mtime, uid, gid } = attributesOf(info);
        const target = fromBytes(readlinkSync(this.#near(path), { encoding: 'buffer' }));
        yield { path, type: 'symlink', target, mtime, ...owner(uid, gid) };
      } else if (info.isFile())
        yield {
          path,
          type: 'file',
          ...attributesOf(info),
          ...this.#inode(info),
          ...this.#xattr(path),
          open: async () => openFile(this.#folders.entry(path)),
        };
      else yield { path, type: 'left out', reason: `it is ${kindOf(info)}` };
    } catch (error) {
      yield { path, type: 'left out', reason: reasonOf(error) };
    }
  }

  #inode({ nlink, dev, ino }: Stats): { inode?: number } {
    if (nlink < 2) return {};
    const key = `${dev}:${ino}`;
    const inode = this.#inodes.get(key) ?? this.#inodes.size + 1;
    this.#inodes.set(key, inode);
    return { inode };
  }

  #isCache(path: string): boolean {
    try {
      const file = openSync(
        this.#folders.entry(`${path}/CACHEDIR.TAG`),
        constants.O_RDONLY | (constants.O_NONBLOCK ?? 0),
      );
      try {
        const begin = Buffer.alloc(CACHE_TAG.length);
        return readSync(file, begin) === begin.length && begin.toString() === CACHE_TAG;
      } finally {
        closeSync(file);
      }
    } catch {
      return false;
    }
  }

  #xattr(path: string): { xattr?: ExtendedAttributes } {
    const xattr = readXattr(this.#near(path), (code) => {
      this.#unread.set(code, (this.#unread.get(code) ?? 0) + 1);
    });
    return xattr ? { xattr } : {};
  }

  /**
   * The path for looking at an entry without its content. The entry's own path is faster, and is used if it
   * is short.
   */
  #near(path: string): string | Buffer {
    const full = `${this.root}/${path}`;
    return full.length < SHORT ? toBytes(full) : this.#folders.entry(path);
  }
}

const owner = (uid: number | undefined, gid: number | undefined) => ({
  ...(uid !== undefined && { uid }),
  ...(gid !== undefined && { gid }),
});

function attributesOf({ mode, mtimeMs, ctimeMs, size, uid, gid }: Stats): FileInfo {
  return { mode: mode & 0o7777, mtime: micro(mtimeMs), ctime: micro(ctimeMs), size, uid, gid };
}

async function openFile(path: string | Buffer): Promise<OpenFile> {
  // What was a file when its folder was read may be a link or a FIFO by now.
  const file = openSync(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  let sparse = false;
  try {
    const info = fstatSync(file);
    sparse = info.blocks * BLOCK < info.size;
    if (!info.isFile()) throw new Error(`it is ${kindOf(info)}`);
    // A later change then has another time.
    if (Math.abs(Date.now() - info.ctimeMs) < TICK) await setTimeout(TICK);
  } catch (error) {
    closeSync(file);
    throw error;
  }
  let at = 0;
  return {
    read: (into) => {
      const length = readSync(file, into, 0, Math.min(into.length, MOST_AT_ONCE), at);
      at += length;
      return length;
    },
    ...(sparse && {
      skip: (bytes: number) => {
        const skipped = isHole(file, at, bytes);
        if (skipped) at += bytes;
        return skipped;
      },
    }),
    info: () => attributesOf(fstatSync(file)),
    close: async () => closeSync(file),
  };
}
