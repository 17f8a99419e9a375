/** The storage cannot be used: not reached, refused, or named wrongly. */
export class StorageError extends Error {
  override name = 'StorageError';
}

export interface Stored {
  /** with `/` between its segments */
  readonly name: string;
  /** when it was written, milliseconds since 1970 */
  readonly written: number;
}

/** Where a backup lies: objects by name. Every failure but a missing object throws StorageError. */
export interface Storage {
  /** as the user named it, for messages */
  readonly location: string;
  /**
   * @param into memory that may be used for it, where it has room
   * @returns `undefined` when there is no such object
   */
  read(name: string, into?: Uint8Array): Promise<Uint8Array | undefined>;
  /** Writes an object. Cut off, it leaves none, or one of another size. */
  write(name: string, content: Uint8Array): Promise<void>;
  /** Makes durable what was written, and what was asked for its size, until now. */
  flush(): Promise<void>;
  /** Bytes of an object, `undefined` when there is none. */
  size(name: string): Promise<number | undefined>;
  /** All objects below a folder. */
  list(folder: string): AsyncIterable<Stored>;
  /** An object that is gone already is no error. */
  delete(name: string): Promise<void>;
  close(): Promise<void>;
}
