/** A part, and what is needed to read it. */
export interface Part {
  /** 64 hexadecimal digits */
  readonly name: string;
  /** bytes of plaintext; version 1 does not say */
  readonly length: number | undefined;
  /** the epoch that sealed it */
  readonly epoch: string;
}

/** A piece of a file: `length` bytes of a part, or a hole. */
export interface Piece {
  readonly part: Part | undefined;
  readonly offset: number;
  readonly length: number;
}

interface Common {
  /**
   * Relative, with `/`; the folder that was backed up is `''`. A byte that is not part of valid UTF-8 is the code unit
   * U+DC00 + byte.
   */
  path: string;
  /** milliseconds since 1970, to the microsecond */
  mtime: number;
  uid?: number;
  gid?: number;
}
/** Permissions, with setuid, setgid and sticky: 12 bits. */
interface WithMode extends Common {
  mode: number;
  /** extended attributes by name, among them POSIX ACLs; values are base64url */
  xattr?: Record<string, string>;
}
export interface FileEntry extends WithMode {
  type: 'file';
  /** when its attributes last changed, if the system tells */
  ctime?: number;
  size: number;
  /** the same for hard links of one file */
  inode?: number;
  content: Piece[];
}
export interface DirectoryEntry extends WithMode {
  type: 'directory';
}
export interface SymlinkEntry extends Common {
  type: 'symlink';
  target: string;
}
export type Entry = FileEntry | DirectoryEntry | SymlinkEntry;

/** Where a snapshot was made, and of what. */
export interface Origin {
  readonly host?: string;
  readonly source?: string;
}

/** A snapshot as it is read. */
export interface Snapshot extends Origin {
  readonly name: string;
  readonly version: 1 | 2;
  readonly created: Date;
  readonly files: number;
  readonly bytes: number;
  /** how many things could not be read */
  readonly leftOut: number;
  /** the parts of the list of files, and the path of each one's first entry, if known */
  readonly list: readonly { readonly part: Part; readonly first?: string }[];
}

/** What a snapshot says about its backup. */
export interface Summary extends Origin {
  readonly files: number;
  readonly bytes: number;
  readonly leftOut: number;
}
