/** The storage cannot be used: not reached, refused, full, or named wrongly. */
export class StorageError extends Error {
  override name = 'StorageError';
}

/** One object cannot be read; others may. */
export class ObjectError extends StorageError {}

/** Most characters of an object's name. S3 allows 1,024 bytes; names of a backup have 71 characters at most. */
export const MOST_NAME = 1024;

export interface Stored {
  /** with `/` between its segments */
  readonly name: string;
  /** bytes */
  readonly size: number;
  /** when it was written, milliseconds since 1970, by the storage's clock */
  readonly written: number;
}

/**
 * Where a backup is kept: objects by name. It MUST behave as described here even if a request is repeated,
 * and MAY be used by several programs at once. Every failure except a missing object throws StorageError.
 */
export interface Storage {
  /** as the user named it, for messages */
  readonly location: string;
  /** the best number of simultaneous requests */
  readonly parallel: number;
  /** the folder on this machine that it is in, if there is one */
  readonly folder?: string;
  /**
   * @param most bytes that the object may have @param into memory that may be used for it, if it has room
   * @returns `undefined` when there is no such object
   * @throws ObjectError when it is longer, or cannot be read although others may be readable
   */
  read(name: string, most: number, into?: Uint8Array): Promise<Uint8Array | undefined>;
  /** Writes an object. An interrupted write leaves no object, or one of another size. */
  write(name: string, content: Uint8Array): Promise<void>;
  /** As `write`, for content that `put` writes into an open file, if objects are files of this machine. */
  fill?(name: string, put: (file: number) => Promise<void>): Promise<void>;
  /** Makes durable what was written until now, and objects that were listed or whose size was asked. */
  flush(): Promise<void>;
  /** Bytes of an object, `undefined` when there is none. */
  size(name: string): Promise<number | undefined>;
  /**
   * All objects below a folder, `''` for all. A server may list without an end as long as each answer brings
   * objects: the caller stops.
   */
  list(folder: string): AsyncIterable<Stored>;
  /** Deletes an object. One that is gone already is not an error. */
  delete(name: string): Promise<void>;
  close(): Promise<void>;
}
