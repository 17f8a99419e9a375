import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  symlinkSync,
} from 'node:fs';
import { dirname } from 'node:path';
import {
  type Destination,
  DestinationError,
  type DirectoryEntry,
  type FileEntry,
  type Problem,
  type Sink,
  type SymlinkEntry,
  unsafePath,
} from '../backup/index.js';
import { Attributes } from './attributes.js';
import { Folders, parentOf } from './folders.js';
import { isPlain, toBytes } from './names.js';
import { type Existing, replaces } from './overwrite.js';
import { Room, Writer } from './writer.js';

export interface FolderOptions extends Existing {
  /** restores owners too, the bits setuid and setgid, and other attributes that only the system may set */
  readonly owners?: boolean;
}

type Place = string | Buffer;

const TEMPORARY = /^\.[0-9a-f]{16}\.bkv-part$/;
const PRIVATE_FOLDER = 0o700;

const lookAt = (place: Place): Stats | undefined => lstatSync(place, { throwIfNoEntry: false });

/** Makes a folder and those above it. Node.js's own function never ends where none can be made, such as in /proc. */
function makeFolder(path: string): void {
  const above = dirname(path);
  if (!existsSync(above)) makeFolder(above);
  mkdirSync(path, PRIVATE_FOLDER);
}

/**
 * A folder into which entries are restored, and never outside it: no link is followed, and links are made
 * last. Nothing is accessible to others before it has its own mode.
 */
export class FolderDestination implements Destination {
  /** folders that were looked at, and whether they were made here */
  readonly #made = new Map<string, boolean>();
  /** for the folders that are being filled: names that were there before */
  readonly #before = new Map<string, ReadonlySet<string>>();
  /** modes of existing folders that were not writable */
  readonly #unlocked = new Map<string, number>();
  readonly #directories: DirectoryEntry[] = [];
  readonly #links: SymlinkEntry[] = [];
  /** for files with several names: one name, and which file it is */
  readonly #inodes = new Map<number, { path: string; ino: number }>();
  readonly #attributes: Attributes;
  readonly #room = new Room();
  #folders: Folders;

  constructor(
    root: string,
    readonly options: FolderOptions,
  ) {
    this.#folders = new Folders(root);
    this.#attributes = new Attributes(options.owners === true);
  }

  /** what the system refused for entries that were restored otherwise */
  get problems(): readonly Problem[] {
    return this.#attributes.problems;
  }

  /** @throws DestinationError when the folder is not empty, and neither `overwrite` nor `resume` is given */
  begin(entry: FileEntry): Sink | undefined {
    this.#prepare(entry.path);
    const there = lookAt(this.#folders.entry(entry.path));
    if (there) this.#checkName(entry.path);
    if (there && !replaces(there, entry, this.options)) return undefined;
    this.#room.check(this.#folders.folder(''), entry.size);
    if (this.#link(entry)) return undefined;
    const temporary = this.#temporary(entry.path);
    const writer = new Writer(this.#folders.entry(temporary), this.#room);
    const discard = () => {
      writer.close();
      this.#remove(temporary);
    };
    return {
      write: (piece) => writer.write(piece),
      hole: (length) => writer.hole(length),
      end: () => {
        try {
          writer.end();
          this.#attributes.file(writer.file, entry);
          this.#put(temporary, entry);
        } catch (error) {
          discard();
          throw error;
        }
        writer.close();
      },
      discard,
    };
  }

  make(entry: DirectoryEntry | SymlinkEntry): void {
    if (entry.type === 'symlink') {
      this.#prepare(entry.path);
      this.#links.push(entry);
      return;
    }
    this.#check(entry.path);
    this.#folder(entry.path);
    this.#directories.push(entry);
  }

  /**
   * Makes the links, and gives folders their modes and times, from the inside out, because writing changes
   * both.
   */
  finish(): void {
    if (!this.#made.has('')) this.#begin();
    for (const link of this.#links) this.#attributes.attempt(link.path, () => this.#makeLink(link));
    for (const entry of this.#directories.reverse()) {
      const isKept = this.options.overwrite === 'never' && !this.#made.get(entry.path);
      this.#attributes.attempt(entry.path, () => {
        if (isKept) this.#lock(entry.path);
        else this.#attributes.folder(this.#folders.folder(entry.path), entry);
      });
    }
    this.#attributes.finish();
    this.#folders.close();
  }

  /** Checks the folder itself. @throws DestinationError */
  #begin(): void {
    let { root } = this.#folders;
    try {
      const isThere = lookAt(root) !== undefined;
      if (isThere) root = realpathSync(root);
      const names = isThere ? readdirSync(root) : [];
      if (names.length > 0 && !this.options.overwrite && !this.options.resume)
        throw new DestinationError(
          `${root} is not empty; name an empty or a new folder, or use --resume or --overwrite`,
        );
      if (!isThere) makeFolder(root);
      this.#folders = new Folders(root);
      this.#folders.folder('');
      this.#made.set('', !isThere);
      if (isThere) this.#unlock('');
      this.#enter('', names);
    } catch (error) {
      if (error instanceof DestinationError) throw error;
      throw new DestinationError(`nothing can be restored to ${root}: ${(error as Error).message}`);
    }
  }

  #check(path: string): void {
    if (this.#made.size === 0) this.#begin();
    const reason = unsafePath(path, process.platform);
    if (reason !== undefined) throw new Error(`it is not restored: ${reason}`);
  }

  /** Makes sure that an entry is allowed, and that its folder exists. */
  #prepare(path: string): void {
    this.#check(path);
    this.#folder(parentOf(path));
  }

  #temporary(path: string): string {
    const name = `.${randomBytes(8).toString('hex')}.bkv-part`;
    const folder = parentOf(path);
    return folder === '' ? name : `${folder}/${name}`;
  }

  /** Makes a folder, or checks the existing one: no link is followed. */
  #folder(path: string): void {
    if (this.#made.has(path)) return;
    this.#folder(parentOf(path));
    const place = this.#folders.entry(path);
    const there = lookAt(place);
    if (there && !there.isDirectory())
      throw new Error(`${path} is a ${there.isSymbolicLink() ? 'link' : 'file'}, and no folder`);
    if (there) this.#checkName(path);
    if (!there) mkdirSync(place, { mode: PRIVATE_FOLDER });
    const folder = this.#folders.folder(path);
    if (there) this.#unlock(path);
    this.#made.set(path, !there);
    this.#enter(path, there ? readdirSync(folder) : []);
  }

  /** Makes an existing folder writable. If the system refuses, what is within is named. */
  #unlock(path: string): void {
    const folder = this.#folders.folder(path);
    const mode = statSync(folder).mode & 0o7777;
    try {
      if (this.options.resume && path !== '') chmodSync(folder, PRIVATE_FOLDER);
      else if ((mode & PRIVATE_FOLDER) !== PRIVATE_FOLDER) {
        chmodSync(folder, mode | PRIVATE_FOLDER);
        this.#unlocked.set(path, mode);
      }
    } catch {}
  }

  /** Gives a folder its old mode back. */
  #lock(path: string): void {
    const mode = this.#unlocked.get(path);
    if (mode !== undefined) chmodSync(this.#folders.folder(path), mode);
  }

  /** Begins to fill a folder. */
  #enter(path: string, names: readonly string[]): void {
    // Folders of another branch are complete, because entries are sorted.
    for (const other of this.#before.keys())
      if (other !== '' && !path.startsWith(`${other}/`)) this.#before.delete(other);
    this.#before.set(path, new Set(names));
    this.#tidy(path, names);
  }

  /**
   * @throws when the existing file was just restored under another name: some disks treat `A` and `a` as the
   * same
   */
  #checkName(path: string): void {
    const before = this.#before.get(parentOf(path));
    const name = path.slice(path.lastIndexOf('/') + 1);
    if (before && !before.has(name) && isPlain(name))
      throw new Error('this disk treats its name as the name of another file');
  }

  /** Removes what an interrupted restore has left behind. */
  #tidy(path: string, names: readonly string[]): void {
    for (const name of names) if (TEMPORARY.test(name)) this.#remove(path === '' ? name : `${path}/${name}`);
  }

  #remove(path: string): void {
    rmSync(this.#folders.entry(path), { force: true });
  }

  /** Moves a complete file to its place. */
  #put(temporary: string, { path, inode }: FileEntry): void {
    const place = this.#folders.entry(temporary);
    if (inode !== undefined) this.#inodes.set(inode, { path, ino: lstatSync(place).ino });
    renameSync(place, this.#folders.entry(path));
  }

  /** Makes a further name of a file that was restored already. */
  #link(entry: FileEntry): boolean {
    const first = entry.inode === undefined ? undefined : this.#inodes.get(entry.inode);
    if (first === undefined) return false;
    const temporary = this.#temporary(entry.path);
    try {
      linkSync(this.#folders.entry(first.path), this.#folders.entry(temporary));
      if (lstatSync(this.#folders.entry(temporary)).ino !== first.ino) throw new Error('it is another file');
      this.#put(temporary, entry);
      // Renaming a name to another one of the same file leaves both.
      this.#remove(temporary);
      return true;
    } catch {
      this.#remove(temporary);
      return false;
    }
  }

  #makeLink(link: SymlinkEntry): void {
    this.#prepare(link.path);
    const place = this.#folders.entry(link.path);
    const there = lookAt(place);
    if (
      there?.isSymbolicLink() &&
      readlinkSync(place, { encoding: 'buffer' }).equals(Buffer.from(toBytes(link.target)))
    )
      return;
    if (there && !replaces(there, link, this.options)) return;
    if (there) rmSync(place);
    symlinkSync(toBytes(link.target), place);
    this.#attributes.link(place, link);
  }
}
