import type { BackupFolder } from './folder.js';
import { BackupError, type Content, type Entry, PART_BYTES } from './format.js';

/** Puts contents one behind the other into parts; tells each content's place when its parts are stored. */
export class Packer {
  readonly #buffer = Buffer.allocUnsafe(PART_BYTES);
  #length = 0;
  #waiting: ((name: string) => void)[] = [];

  constructor(
    readonly folder: BackupFolder,
    readonly onPart: (name: string, length: number) => void | Promise<void> = () => undefined,
  ) {}

  /** Room until the part is full. Fill it and call {@link commit}. */
  room(): Buffer {
    return this.#buffer.subarray(this.#length);
  }

  async commit(length: number, place: (content: Content) => void): Promise<void> {
    const offset = this.#length;
    this.#length += length;
    this.#waiting.push((name) => place([name, offset, length]));
    if (this.#length === PART_BYTES) await this.flush();
  }

  async flush(): Promise<void> {
    if (this.#length === 0) return;
    const name = await this.folder.putPart(this.#buffer.subarray(0, this.#length));
    for (const place of this.#waiting) place(name);
    await this.onPart(name, this.#length);
    this.#length = 0;
    this.#waiting = [];
  }

  wipe(): void {
    this.#buffer.fill(0);
  }
}

/** Writes entries, in order, into parts of their own. */
export class ManifestWriter {
  readonly parts: [string, number][] = [];
  readonly #packer: Packer;

  constructor(folder: BackupFolder) {
    this.#packer = new Packer(folder, (name, length) => {
      this.parts.push([name, length]);
    });
  }

  async write(entry: Entry): Promise<void> {
    const bytes = Buffer.from(`${JSON.stringify(entry)}\n`);
    for (let at = 0; at < bytes.length; ) {
      const room = this.#packer.room();
      const piece = bytes.subarray(at, at + room.length);
      room.set(piece);
      at += piece.length;
      await this.#packer.commit(piece.length, () => undefined);
    }
  }

  async end(): Promise<void> {
    await this.#packer.flush();
    this.#packer.wipe();
  }
}

/**
 * The entries of a snapshot, in their order.
 * @param onDamage is told of a part of the list that cannot be read; the rest follows. Without it, that throws.
 * @throws BackupError
 */
export async function* readManifest(
  folder: BackupFolder,
  parts: readonly (readonly [string, number])[],
  onDamage?: (error: BackupError) => void,
): AsyncGenerator<Entry> {
  let rest: Buffer | undefined = Buffer.alloc(0);
  for (const [name] of parts) {
    let part: Buffer;
    try {
      part = await folder.getPart(name);
    } catch (error) {
      if (!onDamage || !(error instanceof BackupError)) throw error;
      onDamage(error);
      rest = undefined;
      continue;
    }
    // After a part that is missing, the first line is the end of one that began there.
    const text: Buffer = rest ? Buffer.concat([rest, part]) : part.subarray(part.indexOf(10) + 1);
    let start = 0;
    for (let end = text.indexOf(10); end >= 0; end = text.indexOf(10, start)) {
      yield JSON.parse(text.subarray(start, end).toString()) as Entry;
      start = end + 1;
    }
    rest = text.subarray(start);
  }
}

/** Order of a manifest: folders before what they hold, names by their UTF-16 code units. */
export function comparePaths(a: string, b: string): number {
  const [left, right] = [a.split('/'), b.split('/')];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const [x, y] = [left[i] as string, right[i] as string];
    if (x !== y) return x < y ? -1 : 1;
  }
  return left.length - right.length;
}
