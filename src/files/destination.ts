import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  futimesSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statfsSync,
  symlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import {
  BackupError,
  type Destination,
  type DirectoryEntry,
  type Entry,
  type FileEntry,
  type Problem,
  type Sink,
  type SymlinkEntry,
  unsafePath,
} from '../backup/index.js';
import { toBytes } from './names.js';

/** What happens to a file that is there already. */
export type Overwrite = 'never' | 'older' | 'always';

export interface FolderOptions {
  /** without it the folder must be empty or new */
  readonly overwrite?: Overwrite;
  /** goes on with a restore that was cut off: what is there whole stays */
  readonly resume?: boolean;
  /** restores owners too, and the bits setuid and setgid */
  readonly owners?: boolean;
}

const TEMPORARY = /^\.[0-9a-f]{16}\.bkv-part$/;
/** Bytes that are written at a time: ext4 takes several times as long for 4 MiB at once. */
const SLICE = 512 * 1024;
const PRIVATE_FOLDER = 0o700;
const PRIVATE_FILE = 0o600;
const SETUID_SETGID = 0o6000;
const STICKY = 0o1000;

/** Node.js takes a number before 1970 for now, and a Date as it is. */
const timeOf = (ms: number): number | Date => (ms < 0 ? new Date(ms) : ms / 1000);
const parentOf = (path: string): string => (path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '');
const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

/**
 * A folder that entries are restored into, and never beside it: it goes through no link, and makes links last. Nothing is
 * open to others before it has its own mode.
 */
export class FolderDestination implements Destination {
  /** what the system refused, of entries that are there otherwise */
  readonly problems: Problem[] = [];
  /** folders that were looked at, and whether they were made here */
  readonly #folders = new Map<string, { made: boolean }>();
  readonly #directories: DirectoryEntry[] = [];
  readonly #links: SymlinkEntry[] = [];
  /** first path of files that have several */
  readonly #inodes = new Map<number, string>();
  #root: string;
  #full = false;
  #privileged = 0;

  constructor(
    root: string,
    readonly options: FolderOptions,
  ) {
    this.#root = root;
  }

  /** @throws BackupError when there is something in the folder, and it is not said what happens to that */
  begin(entry: FileEntry): Sink | undefined {
    const path = this.#place(entry);
    const there = lstatSync(path, { throwIfNoEntry: false });
    if (there && !this.#replaces(there, entry)) return undefined;
    this.#checkRoom(entry);
    if (this.#link(entry, path)) return undefined;
    const temporary = this.#temporary(entry.path);
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW = 0 } = constants;
    const file = openSync(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, PRIVATE_FILE);
    let at = 0;
    return {
      write: (piece) => {
        for (let done = 0; done < piece.length; )
          done += this.#noting(() =>
            writeSync(file, piece, done, Math.min(SLICE, piece.length - done), at + done),
          );
        at += piece.length;
      },
      hole: (length) => {
        at += length;
      },
      end: () => {
        try {
          ftruncateSync(file, at);
          this.#attributes(file, entry);
          renameSync(temporary, path);
          if (entry.inode !== undefined) this.#inodes.set(entry.inode, entry.path);
        } catch (error) {
          rmSync(temporary, { force: true });
          throw error;
        } finally {
          closeSync(file);
        }
      },
      discard: () => {
        closeSync(file);
        rmSync(temporary, { force: true });
      },
    };
  }

  make(entry: DirectoryEntry | SymlinkEntry): void {
    if (entry.type === 'symlink') {
      this.#place(entry);
      this.#links.push(entry);
      return;
    }
    this.#check(entry.path);
    this.#folder(entry.path);
    this.#directories.push(entry);
  }

  /** Makes the links, and gives folders their modes and times: from the inside out, since writing changes both. */
  finish(): void {
    if (!this.#folders.has('')) this.#begin();
    for (const link of this.#links) this.#attempt(link.path, () => this.#makeLink(link));
    for (const entry of this.#directories.reverse()) this.#finishFolder(entry);
    if (this.#privileged > 0)
      this.problems.push({
        path: '',
        reason: `${this.#privileged} files and folders had setuid or setgid, which were not restored (--owners)`,
      });
  }

  /** Looks at the folder itself. */
  #begin(): void {
    const present = lstatSync(this.#root, { throwIfNoEntry: false });
    if (present) this.#root = realpathSync(this.#root);
    const names = present ? readdirSync(this.#root) : [];
    if (names.length > 0 && !this.options.overwrite && !this.options.resume)
      throw new BackupError(
        `${this.#root} is not empty; name an empty or a new folder, or say --resume or --overwrite`,
      );
    if (!present) mkdirSync(this.#root, { recursive: true, mode: PRIVATE_FOLDER });
    this.#folders.set('', { made: !present });
    this.#tidy('', names);
  }

  #check(path: string): void {
    if (this.#folders.size === 0) this.#begin();
    const reason = unsafePath(path, process.platform);
    if (reason !== undefined) throw new Error(`it is not restored: ${reason}`);
  }

  /** Where an entry goes, in a folder that was looked at. */
  #place({ path }: Entry): string | Buffer {
    this.#check(path);
    this.#folder(parentOf(path));
    return this.#path(path);
  }

  #path(path: string): string | Buffer {
    return toBytes(path === '' ? this.#root : `${this.#root}/${path}`);
  }

  #temporary(path: string): string | Buffer {
    const name = `.${randomBytes(8).toString('hex')}.bkv-part`;
    const folder = parentOf(path);
    return this.#path(folder === '' ? name : `${folder}/${name}`);
  }

  /** Makes a folder, or looks at what is there: no link is followed. */
  #folder(path: string): void {
    if (this.#folders.has(path)) return;
    this.#folder(parentOf(path));
    const full = this.#path(path);
    const there = lstatSync(full, { throwIfNoEntry: false });
    if (there && !there.isDirectory())
      throw new Error(`${path} is a ${there.isSymbolicLink() ? 'link' : 'file'}, and no folder`);
    if (!there) mkdirSync(full, { mode: PRIVATE_FOLDER });
    else if (this.options.resume) chmodSync(full, PRIVATE_FOLDER);
    this.#folders.set(path, { made: !there });
    if (there) this.#tidy(path, readdirSync(full));
  }

  /** Removes what a restore that was cut off has left. */
  #tidy(path: string, names: readonly string[]): void {
    for (const name of names)
      if (TEMPORARY.test(name)) rmSync(this.#path(path === '' ? name : `${path}/${name}`), { force: true });
  }

  /** Whether an entry takes the place of what is there. @throws when it may not, and that was not asked for */
  #replaces(there: Stats, { type, path, mtime, ...rest }: FileEntry | SymlinkEntry): boolean {
    if (there.isDirectory()) throw new Error('a folder is in its place');
    const { overwrite, resume } = this.options;
    const size = 'size' in rest ? rest.size : there.size;
    const same =
      Math.abs(there.mtimeMs - mtime) < 1 && there.size === size && there.isFile() === (type === 'file');
    if (overwrite === 'always') return true;
    if (overwrite === 'older') return there.mtimeMs < mtime - 1;
    if (overwrite === 'never' || (resume && same)) return false;
    throw new Error(`${path} is there already, and is another; it stays (--overwrite always)`);
  }

  /** Once the disk was full, a file is begun only where it fits: the smaller ones still may. */
  #checkRoom({ size }: FileEntry): void {
    if (!this.#full) return;
    const { bavail, bsize } = statfsSync(this.#root);
    if (bavail * bsize < size) throw new Error('the disk is full');
  }

  #noting<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (codeOf(error) !== 'ENOSPC' && codeOf(error) !== 'EDQUOT') throw error;
      this.#full = true;
      throw new Error('the disk is full');
    }
  }

  /** Makes a further name of a file that was restored already. */
  #link({ inode, path: name }: FileEntry, path: string | Buffer): boolean {
    const first = inode === undefined ? undefined : this.#inodes.get(inode);
    if (first === undefined) return false;
    const temporary = this.#temporary(name);
    try {
      linkSync(this.#path(first), temporary);
      renameSync(temporary, path);
      // Renaming a name to another one of the same file leaves both.
      rmSync(temporary, { force: true });
      return true;
    } catch {
      return false;
    }
  }

  /** Does what the system may refuse without harm to the content. */
  #attempt(path: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.problems.push({ path, reason: (error as Error).message });
    }
  }

  #modeOf({ mode, type }: FileEntry | DirectoryEntry): number {
    if (this.options.owners) return mode & 0o7777;
    if (mode & SETUID_SETGID) this.#privileged++;
    return mode & (type === 'directory' ? 0o777 | STICKY : 0o777);
  }

  #attributes(file: number, entry: FileEntry): void {
    const { path, uid, gid, mtime } = entry;
    if (this.options.owners && uid !== undefined && gid !== undefined)
      this.#attempt(path, () => fchownSync(file, uid, gid));
    this.#attempt(path, () => fchmodSync(file, this.#modeOf(entry)));
    this.#attempt(path, () => futimesSync(file, timeOf(mtime), timeOf(mtime)));
  }

  #makeLink(link: SymlinkEntry): void {
    const path = this.#place(link);
    const there = lstatSync(path, { throwIfNoEntry: false });
    if (
      there?.isSymbolicLink() &&
      readlinkSync(path, { encoding: 'buffer' }).equals(Buffer.from(toBytes(link.target)))
    )
      return;
    if (there && !this.#replaces(there, link)) return;
    if (there) rmSync(path);
    symlinkSync(toBytes(link.target), path);
    const { uid, gid, mtime } = link;
    if (this.options.owners && uid !== undefined && gid !== undefined) lchownSync(path, uid, gid);
    lutimesSync(path, timeOf(mtime), timeOf(mtime));
  }

  #finishFolder(entry: DirectoryEntry): void {
    const { path, uid, gid, mtime } = entry;
    if (this.options.overwrite === 'never' && !this.#folders.get(path)?.made) return;
    const full = this.#path(path);
    this.#attempt(path, () => {
      if (this.options.owners && uid !== undefined && gid !== undefined) chownSync(full, uid, gid);
      // Before the mode, which may forbid it.
      utimesSync(full, timeOf(mtime), timeOf(mtime));
      chmodSync(full, this.#modeOf(entry));
    });
  }
}
