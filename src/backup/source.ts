import type { DirectoryEntry, FileEntry, SymlinkEntry } from './format.js';

/** What the system says about a file. */
export type FileInfo = Pick<FileEntry, 'mode' | 'mtime' | 'ctime' | 'size' | 'uid' | 'gid'>;

/** A file that is being read. */
export interface OpenFile {
  /** Fills as much of a buffer as it can. @returns how many bytes, 0 at the end */
  read(into: Uint8Array): Promise<number> | number;
  /** Skips `bytes` if they are a hole. @returns whether they were; without this method everything is read */
  skip?(bytes: number): boolean;
  /** What the system says about it now, if it can: a file that changes while it is read is read again. */
  info?(): FileInfo;
  close(): Promise<void>;
}

/** Something that was not backed up or restored, or only with changes. */
export interface Problem {
  /** `''` when it is unknown which files are affected */
  readonly path: string;
  readonly reason: string;
}

/** Something of the source that cannot be backed up. */
export interface LeftOut extends Problem {
  readonly type: 'left out';
}

/**
 * What is backed up: entries in the order of their paths, folders before what they hold. If `open` or `read`
 * throws, the file is left out and named.
 */
export type SourceEntry =
  | (Omit<FileEntry, 'content'> & { open(): Promise<OpenFile> })
  | DirectoryEntry
  | SymlinkEntry
  | LeftOut;
