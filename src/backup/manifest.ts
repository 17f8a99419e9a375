import { concatBytes } from '@noble/hashes/utils.js';
import { BackupError, type Content, type Entry, PART_BYTES } from './format.js';
import type { Repository } from './repository.js';

/** Parts that are encrypted and stored at the same time. */
const AT_ONCE = 4;

/**
 * Puts contents one behind the other into parts, and stores those beside the work of filling the next; tells each
 * content's place in their order.
 */
export class Packer {
  #buffer: Uint8Array;
  #length = 0;
  #waiting: ((name: string) => void)[] = [];
  readonly #spare: Uint8Array[] = [];
  readonly #storing = new Set<Promise<void>>();
  #placed: Promise<void> = Promise.resolve();

  /** @param onPart is called when a part is full; what it returns, once the part is stored */
  constructor(
    readonly repository: Repository,
    readonly onPart: () => (name: string, length: number) => void | Promise<void>,
  ) {
    this.#buffer = repository.format.buffer();
  }

  /** Room until the part is full. Fill it and call {@link commit}. */
  room(): Uint8Array {
    return this.#buffer.subarray(this.#length, PART_BYTES);
  }

  async commit(length: number, place: (content: Content) => void): Promise<void> {
    const offset = this.#length;
    this.#length += length;
    this.#waiting.push((name) => place([name, offset, length]));
    if (this.#length === PART_BYTES) await this.flush();
  }

  /** Begins a new part. @throws what kept an older one from being stored */
  async flush(): Promise<void> {
    if (this.#length === 0) return;
    const [buffer, length, waiting] = [this.#buffer, this.#length, this.#waiting];
    const stored = this.onPart();
    const naming = this.repository.putPart(buffer.subarray(0, length));
    const storing = naming.then(
      () => void this.#spare.push(buffer),
      () => undefined,
    );
    this.#storing.add(storing);
    void storing.finally(() => this.#storing.delete(storing));
    const before = this.#placed;
    this.#placed = (async () => {
      await before;
      const name = await naming;
      for (const place of waiting) place(name);
      await stored(name, length);
    })();
    this.#placed.catch(() => undefined);
    [this.#length, this.#waiting] = [0, []];
    if (this.#storing.size >= AT_ONCE) {
      await Promise.race(this.#storing);
      // A part that failed is told of as soon as those before it are placed.
      if (this.#spare.length === 0) await this.#placed;
    }
    this.#buffer = this.#spare.pop() ?? this.repository.format.buffer();
  }

  /** Waits until all is stored and placed. */
  async drain(): Promise<void> {
    await this.flush();
    await this.#placed;
  }

  /** Drains, and zeroes what was in memory. */
  async end(): Promise<void> {
    try {
      await this.drain();
    } finally {
      await Promise.all(this.#storing);
      for (const buffer of [this.#buffer, ...this.#spare]) buffer.fill(0);
    }
  }
}

/** Writes entries, in order, into parts of their own. */
export class ManifestWriter {
  readonly parts: [string, number][] = [];
  readonly #packer: Packer;

  constructor(repository: Repository) {
    this.#packer = new Packer(repository, () => (name, length) => {
      this.parts.push([name, length]);
    });
  }

  async write(entry: Entry): Promise<void> {
    const bytes = new TextEncoder().encode(`${JSON.stringify(entry)}\n`);
    for (let at = 0; at < bytes.length; ) {
      const room = this.#packer.room();
      const piece = bytes.subarray(at, at + room.length);
      room.set(piece);
      at += piece.length;
      await this.#packer.commit(piece.length, () => undefined);
    }
  }

  end(): Promise<void> {
    return this.#packer.end();
  }
}

const NEWLINE = 10;

/**
 * The entries of a snapshot, in their order.
 * @param onDamage is told of a part of the list that cannot be read; the rest follows. Without it, that throws.
 * @throws BackupError
 */
export async function* readManifest(
  repository: Repository,
  parts: readonly (readonly [string, number])[],
  onDamage?: (error: BackupError) => void,
): AsyncGenerator<Entry> {
  /** the beginning of a line whose end is in the next part; `undefined` when its beginning is lost */
  let rest: Uint8Array | undefined = new Uint8Array();
  for (const [name] of parts) {
    let part: Uint8Array;
    try {
      part = await repository.getPart(name);
    } catch (error) {
      if (!onDamage || !(error instanceof BackupError)) throw error;
      onDamage(error);
      rest = undefined;
      continue;
    }
    const first = part.indexOf(NEWLINE);
    if (first < 0) {
      rest = rest && concatBytes(rest, part);
      continue;
    }
    const text: Uint8Array = rest ? concatBytes(rest, part) : part.subarray(first + 1);
    let start = 0;
    for (let end = text.indexOf(NEWLINE); end >= 0; end = text.indexOf(NEWLINE, start)) {
      yield JSON.parse(new TextDecoder().decode(text.subarray(start, end))) as Entry;
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
