import { closeSync, constants, ftruncateSync, openSync, statfsSync, writeSync } from 'node:fs';

/** Bytes that are written at a time: ext4 takes several times as long for 4 MiB at once. */
const SLICE = 512 * 1024;
const PRIVATE_FILE = 0o600;
const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW = 0 } = constants;

const isFull = (error: unknown): boolean =>
  ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '');

/** Room on a disk. Once the disk was full, a file is begun only if it fits; smaller files may still fit. */
export class Room {
  #full = false;

  /** @param bytes the size of a file @throws when it does not fit */
  check(folder: string | Buffer, bytes: number): void {
    if (!this.#full) return;
    const { bavail, bsize } = statfsSync(folder);
    if (bavail * bsize < bytes) throw new Error('the disk is full');
  }

  /** Writes, and reports clearly if there is no room. */
  use<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!isFull(error)) throw error;
      this.#full = true;
      throw new Error('the disk is full');
    }
  }
}

/** A new file that only its owner can read, filled from the beginning to the end. */
export class Writer {
  readonly file: number;
  #at = 0;

  /** @throws when something exists at the path, even a link */
  constructor(
    path: string | Buffer,
    readonly room: Room,
  ) {
    this.file = room.use(() => openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, PRIVATE_FILE));
  }

  write(piece: Uint8Array): void {
    for (let done = 0; done < piece.length; )
      done += this.room.use(() =>
        writeSync(this.file, piece, done, Math.min(SLICE, piece.length - done), this.#at + done),
      );
    this.#at += piece.length;
  }

  hole(length: number): void {
    this.#at += length;
  }

  /** Sets its length, which matters if it ends with a hole. */
  end(): void {
    this.room.use(() => ftruncateSync(this.file, this.#at));
  }

  close(): void {
    closeSync(this.file);
  }
}
