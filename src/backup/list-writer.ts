import { text } from './encoding.js';
import type { Entry, FileEntry, Part, Piece } from './format.js';
import type { Listed } from './list.js';
import { hashPath } from './paths.js';

/** Bytes after which a list may end, and bytes at which it must. */
const LEAST = 64 * 1024;
const MOST = 1024 * 1024;
/** One of this many paths may end a list. */
const ONE_OF = 1024;
/** How many lists are stored at the same time. */
const AT_ONCE = 4;
/** Most pieces of a file in one line. */
const PIECES = 10_000;

/** Writes entries, in order, into lists: parts that can each be read separately. */
export class ListWriter {
  readonly #lists: Promise<Listed>[] = [];
  #lines: string[] = [];
  #length = 0;
  #first = '';
  readonly #parts = new Map<string, number>();
  #rows: string[] = [];

  /** @param epoch that of the lists @param put stores a list */
  constructor(
    readonly epoch: string,
    readonly put: (plaintext: Uint8Array) => Promise<Part>,
  ) {}

  async write(entry: Entry): Promise<void> {
    if (this.#lines.length === 0) this.#first = entry.path;
    if (entry.type === 'file') await this.#file(entry);
    else this.#line(JSON.stringify(entry));
    if (this.#length >= MOST || (this.#length >= LEAST && hashPath(entry.path) % ONE_OF === 0))
      await this.#end();
  }

  async #file({ content, ...rest }: FileEntry): Promise<void> {
    const pieces = (from: number) => content.slice(from, from + PIECES).map((piece) => this.#piece(piece));
    this.#line(JSON.stringify({ ...rest, content: pieces(0) }));
    for (let at = PIECES; at < content.length; at += PIECES) {
      if (this.#length >= MOST) {
        await this.#end();
        this.#first = rest.path;
      }
      this.#line(JSON.stringify({ more: pieces(at) }));
    }
  }

  #piece({ part, offset, length }: Piece): [number, number, number] {
    if (!part) return [-1, offset, length];
    let index = this.#parts.get(part.name);
    if (index === undefined) {
      index = this.#parts.size;
      this.#parts.set(part.name, index);
      const row = [part.name, part.length, ...(part.epoch === this.epoch ? [] : [part.epoch])];
      this.#rows.push(JSON.stringify(row));
      this.#length += part.name.length;
    }
    return [index, offset, length];
  }

  #line(line: string): void {
    this.#lines.push(line);
    this.#length += line.length;
  }

  /** Stores what is written until now, while writing goes on. */
  async #end(): Promise<void> {
    if (this.#lines.length === 0) return;
    const plaintext = text(`{"parts":[${this.#rows.join(',')}]}\n${this.#lines.join('\n')}\n`);
    const first = this.#first;
    const listed = this.put(plaintext).then((part) => ({ part, first }));
    listed.catch(() => undefined);
    this.#lists.push(listed);
    [this.#lines, this.#rows, this.#length] = [[], [], 0];
    this.#parts.clear();
    await this.#lists.at(-AT_ONCE);
  }

  /** Stores the rest. @returns all lists, in order */
  async end(): Promise<Listed[]> {
    await this.#end();
    return Promise.all(this.#lists);
  }
}
