import type { Progress } from './backup.js';
import type { Before } from './before.js';
import { PART_BYTES } from './cipher.js';
import type { Entry, FileEntry, Piece } from './format.js';
import type { Listed } from './list.js';
import { ListWriter } from './list-writer.js';
import { Packer } from './packer.js';
import type { Run } from './run.js';
import type { FileInfo, OpenFile, Problem, SourceEntry } from './source.js';

/** Most entries that wait for the part with their last bytes. */
const MAX_PENDING = 10_000;
/** How often a file that keeps changing is read. */
const READINGS = 3;

/** What a pass over the source has stored. */
export interface Stored {
  readonly lists: Listed[];
  readonly entries: number;
  readonly files: number;
  readonly bytes: number;
  readonly changed: number;
  readonly leftOut: Problem[];
}

type SourceFile = Extract<SourceEntry, { type: 'file' }>;

/** The source failed, and not the storage. */
class Unreadable extends Error {}

async function reading<T>(work: () => Promise<T> | T): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new Unreadable((error as Error).message);
  }
}

/** Goes through a source once, and stores it. */
export class Pass {
  readonly #before: Before;
  readonly #data: Packer;
  readonly #lists: ListWriter;
  readonly #pending: Entry[] = [];
  /** content of files that have several names */
  readonly #links = new Map<number, FileEntry>();
  readonly #leftOut: Problem[] = [];
  #counts = { entries: 0, files: 0, bytes: 0, changed: 0 };

  constructor(
    run: Run,
    before: Before,
    readonly total: number,
    readonly progress: Progress,
  ) {
    const { storage, cipher } = run.repository;
    this.#before = before;
    this.#lists = new ListWriter(run.head.id, (list) => run.put(list));
    this.#data = new Packer(
      cipher,
      (part) => run.put(part),
      storage.parallel,
      () => {
        // The last file may still be growing: its later parts are not stored yet.
        const complete = this.#pending.splice(0, this.#pending.length - 1);
        return () => this.#write(complete);
      },
    );
  }

  async store(source: AsyncIterable<SourceEntry> | Iterable<SourceEntry>): Promise<Stored> {
    try {
      for await (const found of source) {
        if (this.#pending.length > MAX_PENDING) {
          await this.#data.drain();
          await this.#write(this.#pending.splice(0));
        }
        if (found.path !== '') this.#counts.entries++;
        if (found.type === 'left out') this.#leftOut.push({ path: found.path, reason: found.reason });
        else if (found.type === 'file') await this.#file(found);
        else this.#pending.push(found);
      }
    } finally {
      await this.#data.end();
    }
    await this.#write(this.#pending);
    return { ...this.#counts, lists: await this.#lists.end(), leftOut: this.#leftOut };
  }

  async #write(entries: readonly Entry[]): Promise<void> {
    for (const entry of entries) await this.#lists.write(entry);
  }

  async #file({ open, ...rest }: SourceFile): Promise<void> {
    const entry: FileEntry = { ...rest, content: [] };
    const linked = entry.inode === undefined ? undefined : this.#links.get(entry.inode);
    const known = linked?.size === entry.size ? linked.content : await this.#before.contentOf(entry);
    if (known) {
      entry.content = known;
      this.#pending.push(entry);
      this.#done(entry.size);
    } else {
      const before = this.#counts.bytes;
      this.#pending.push(entry);
      try {
        await this.#readSettled(entry, open);
        this.#counts.changed++;
      } catch (error) {
        if (!(error instanceof Unreadable)) throw error;
        this.#leftOut.push({ path: entry.path, reason: error.message });
        this.#pending.pop();
        this.#counts.bytes = before;
        return;
      }
    }
    this.#counts.files++;
    if (entry.inode !== undefined) this.#links.set(entry.inode, entry);
  }

  #done(bytes: number): void {
    this.#counts.bytes += bytes;
    this.progress(this.#counts.bytes, Math.max(this.total, this.#counts.bytes));
  }

  /** Reads a file until it stays the same while it is read. */
  async #readSettled(entry: FileEntry, open: () => Promise<OpenFile>): Promise<void> {
    const before = this.#counts.bytes;
    for (let left = READINGS; left > 0; left--) {
      this.#counts.bytes = before;
      const file = await reading(open);
      try {
        const info = file.info && (await reading(() => file.info?.()));
        Object.assign(entry, info, { content: [] });
        await this.#read(entry, file);
        const after = file.info && (await reading(() => file.info?.()));
        if (!info || !after || isSame(info, after, entry.size)) return;
      } finally {
        await file.close();
      }
    }
    this.#leftOut.push({
      path: entry.path,
      reason: 'it changed each time that it was read; what was read last is stored',
    });
    // So that it does not count as unchanged next time.
    entry.ctime = 0;
  }

  async #read(entry: FileEntry, file: OpenFile): Promise<void> {
    const { content } = entry;
    const place = (piece: Piece) => void content.push(piece);
    const data = this.#data;
    // A file that does not fit into the rest of a part begins a new one, so that it has the same parts next time.
    if (entry.size >= PART_BYTES) await data.flush();
    // A file that grows faster than it is read would never end. A file whose size the system does not know
    // may still have content.
    const most = entry.size === 0 ? Number.POSITIVE_INFINITY : entry.size;
    entry.size = 0;
    while (entry.size < most) {
      if (data.isEmpty && most - entry.size >= PART_BYTES && (await reading(() => file.skip?.(PART_BYTES)))) {
        entry.size += PART_BYTES;
        data.hole(PART_BYTES, place);
        this.#done(PART_BYTES);
        continue;
      }
      const room = data.room().subarray(0, most - entry.size);
      let filled = 0;
      for (let bytes = -1; filled < room.length && bytes !== 0; filled += bytes)
        bytes = await reading(() => file.read(room.subarray(filled)));
      if (filled === 0) return;
      entry.size += filled;
      if (filled === PART_BYTES && isZero(room)) data.hole(filled, place);
      else await data.commit(filled, place);
      this.#done(filled);
      if (filled < room.length) return;
    }
  }
}

const isSame = (a: FileInfo, b: FileInfo, read: number): boolean =>
  a.size === b.size && a.mtime === b.mtime && a.ctime === b.ctime && read === b.size;

/** @param bytes a whole part, at the beginning of its buffer */
function isZero(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0 || bytes.at(-1) !== 0) return false;
  for (const word of new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4))
    if (word !== 0) return false;
  return true;
}
