/** The storage cannot be used: not reached, refused, full, or named wrongly. */
export class StorageError extends Error {
  override name = 'StorageError';
}

/** One object cannot be read; others may. */
export class ObjectError extends StorageError {}

export interface Stored {
  /** with `/` between its segments */
  readonly name: string;
  /** bytes */
  readonly size: number;
  /** when it was written, milliseconds since 1970, by the storage's clock */
  readonly written: number;
}

/**
 * Where a backup lies: objects by name. It MUST do what is said here also when a request is repeated, and MAY be used by
 * several programs at once. Every failure but a missing object throws StorageError.
 */
export interface Storage {
  /** as the user named it, for messages */
  readonly location: string;
  /** how many requests it is best asked at the same time */
  readonly parallel: number;
  /** the folder of this machine in which it lies, where it does */
  readonly folder?: string;
  /**
   * @param most bytes that the object may have
   * @param into memory that may be used for it, where it has room
   * @returns `undefined` when there is no such object
   * @throws ObjectError when it is longer, or cannot be read and others may
   */
  read(name: string, most: number, into?: Uint8Array): Promise<Uint8Array | undefined>;
  /** Writes an object. Cut off, it leaves none, or one of another size. */
  write(name: string, content: Uint8Array): Promise<void>;
  /** As `write`, of what is put into an open file, where an object is one of this machine. */
  fill?(name: string, put: (file: number) => Promise<void>): Promise<void>;
  /** Makes durable what was written, and what was listed or asked for its size, until now. */
  flush(): Promise<void>;
  /** Bytes of an object, `undefined` when there is none. */
  size(name: string): Promise<number | undefined>;
  /** All objects below a folder, `''` for all. */
  list(folder: string): AsyncIterable<Stored>;
  /** An object that is gone already is not an error. */
  delete(name: string): Promise<void>;
  close(): Promise<void>;
}
