import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  lutimesSync,
  openSync,
  utimesSync,
} from 'node:fs';
import type { DirectoryEntry, FileEntry, Problem, SymlinkEntry } from '../backup/index.js';
import { ACL, modeWithoutAcl, writeXattr } from './xattr.js';

type Place = string | Buffer;

const { O_RDONLY, O_DIRECTORY = 0 } = constants;
const SETUID_SETGID = 0o6000;
const STICKY = 0o1000;
/** Extended attributes that anyone may set on their own files. */
const ORDINARY = /^(user\.|system\.posix_acl_default$)/;

/** Node.js mistakes a number before 1970 for the present time, but accepts a Date. */
const timeOf = (ms: number): number | Date => (ms < 0 ? new Date(ms) : ms / 1000);

/**
 * Gives what is restored its owner, mode, times and extended attributes. What the system refuses is named;
 * the content is restored nevertheless.
 */
export class Attributes {
  readonly problems: Problem[] = [];
  #privileged = 0;
  #system = 0;

  /**
   * @param owners whether to restore owners, the bits setuid and setgid, and attributes that only the system
   * may set
   */
  constructor(readonly owners: boolean) {}

  file(file: number, entry: FileEntry): void {
    const { path, mtime } = entry;
    this.#owner(entry, (uid, gid) => fchownSync(file, uid, gid));
    this.#xattr(file, entry);
    this.attempt(path, () => fchmodSync(file, this.#modeOf(entry)));
    this.#acl(file, entry);
    this.attempt(path, () => futimesSync(file, timeOf(mtime), timeOf(mtime)));
  }

  folder(place: Place, entry: DirectoryEntry): void {
    const { path, mtime } = entry;
    const file = entry.xattr && openSync(place, O_RDONLY | O_DIRECTORY);
    try {
      this.#owner(entry, (uid, gid) => chownSync(place, uid, gid));
      if (file !== undefined) this.#xattr(file, entry);
      this.attempt(path, () => utimesSync(place, timeOf(mtime), timeOf(mtime)));
      this.attempt(path, () => chmodSync(place, this.#modeOf(entry)));
      if (file !== undefined) this.#acl(file, entry);
    } finally {
      if (file !== undefined) closeSync(file);
    }
  }

  link(place: Place, entry: SymlinkEntry): void {
    this.#owner(entry, (uid, gid) => lchownSync(place, uid, gid));
    this.attempt(entry.path, () => lutimesSync(place, timeOf(entry.mtime), timeOf(entry.mtime)));
  }

  /** Reports, once for all entries, what was not restored because it was not asked for. */
  finish(): void {
    const note = (reason: string) => void this.problems.push({ path: '', reason });
    if (this.#privileged > 0)
      note(`${this.#privileged} files and folders had setuid or setgid, which were not restored (--owners)`);
    if (this.#system > 0)
      note(
        `${this.#system} extended attributes that the system alone sets were not restored (--owners, as root)`,
      );
  }

  /** Does something that the system may refuse without harm to the content. */
  attempt(path: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.problems.push({ path, reason: (error as Error).message });
    }
  }

  #owner(
    { path, uid, gid }: { path: string; uid?: number; gid?: number },
    give: (uid: number, gid: number) => void,
  ): void {
    if (this.owners && uid !== undefined && gid !== undefined) this.attempt(path, () => give(uid, gid));
  }

  #modeOf({ mode, type, xattr }: FileEntry | DirectoryEntry): number {
    // The ACL that is set next gives the group's bits their old value.
    const permissions = modeWithoutAcl(mode, xattr?.[ACL]);
    if (this.owners) return permissions & 0o7777;
    if (mode & SETUID_SETGID) this.#privileged++;
    return permissions & (type === 'directory' ? 0o777 | STICKY : 0o777);
  }

  /** To be called before the mode is set, because that may forbid attributes. */
  #xattr(file: number, { path, xattr = {} }: FileEntry | DirectoryEntry): void {
    for (const [name, content] of Object.entries(xattr)) {
      if (name === ACL) continue;
      if (this.owners || ORDINARY.test(name)) this.attempt(path, () => writeXattr(file, name, content));
      else this.#system++;
    }
  }

  /** To be called after the mode is set, because that would change the ACL. */
  #acl(file: number, { path, xattr }: FileEntry | DirectoryEntry): void {
    const acl = xattr?.[ACL];
    if (acl !== undefined) this.attempt(path, () => writeXattr(file, ACL, acl));
  }
}
