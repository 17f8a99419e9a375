import type { DirectoryEntry, FileEntry, SymlinkEntry } from './format.js';

/** What the system says of a file. */
export type FileInfo = Pick<FileEntry, 'mode' | 'mtime' | 'ctime' | 'size' | 'uid' | 'gid'>;

/** A file that is being read. */
export interface OpenFile {
  /** Fills what it can of a buffer. @returns how many bytes, 0 at the end */
  read(into: Uint8Array): Promise<number> | number;
  /** Goes on behind so many bytes when they are a hole. @returns whether they are; without it they are read */
  skip?(bytes: number): boolean;
  /** What the system says of it now, where it does: a file that changes while it is read is read again. */
  info?(): FileInfo;
  close(): Promise<void>;
}

/** Something that was not backed up or restored, or not as it was. */
export interface Problem {
  /** `''` when it is unknown which files it is about */
  readonly path: string;
  readonly reason: string;
}

/** Something of the source that cannot be backed up. */
export interface LeftOut extends Problem {
  readonly type: 'left out';
}

/**
 * What is backed up: entries in the order of their paths, folders before what they hold. What `open` and `read` throw
 * leaves the file out, and is named.
 */
export type SourceEntry =
  | (Omit<FileEntry, 'content'> & { open(): Promise<OpenFile> })
  | DirectoryEntry
  | SymlinkEntry
  | LeftOut;
