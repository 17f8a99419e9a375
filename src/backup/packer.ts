import { type Cipher, PART_BYTES } from './cipher.js';
import type { Part, Piece } from './format.js';

/**
 * Puts contents one after another into parts, and stores each part while the next is being filled. Reports
 * each content's place, in order.
 */
export class Packer {
  #buffer: Uint8Array;
  #length = 0;
  #waiting: ((part: Part) => void)[] = [];
  readonly #spare: Uint8Array[] = [];
  readonly #storing = new Set<Promise<void>>();
  #placed: Promise<void> = Promise.resolve();

  /**
   * @param put stores a part @param atOnce how many at the same time
   * @param onPart is called when a part is full; the function that it returns is called once the part is
   * stored
   */
  constructor(
    readonly cipher: Cipher,
    readonly put: (plaintext: Uint8Array) => Promise<Part>,
    readonly atOnce: number,
    readonly onPart: () => () => Promise<void>,
  ) {
    this.#buffer = cipher.buffer();
  }

  /** Room until the part is full. Fill it and call {@link commit}. */
  room(): Uint8Array {
    return this.#buffer.subarray(this.#length, PART_BYTES);
  }

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  async commit(length: number, place: (piece: Piece) => void): Promise<void> {
    const offset = this.#length;
    this.#length += length;
    this.#waiting.push((part) => place({ part, offset, length }));
    if (this.#length === PART_BYTES) await this.flush();
  }

  /** Places a hole after what is stored; the current part must be empty. */
  hole(length: number, place: (piece: Piece) => void): void {
    this.#placed = this.#placed.then(() => place({ part: undefined, offset: 0, length }));
    this.#placed.catch(() => undefined);
  }

  /** Begins a new part. @throws what kept an older one from being stored */
  async flush(): Promise<void> {
    if (this.#length === 0) return;
    const [buffer, length, waiting] = [this.#buffer, this.#length, this.#waiting];
    const stored = this.onPart();
    const putting = this.put(buffer.subarray(0, length));
    const storing = putting.then(
      () => void this.#spare.push(buffer),
      () => undefined,
    );
    this.#storing.add(storing);
    void storing.finally(() => this.#storing.delete(storing));
    const before = this.#placed;
    this.#placed = (async () => {
      await before;
      const part = await putting;
      for (const place of waiting) place(part);
      await stored();
    })();
    this.#placed.catch(() => undefined);
    [this.#length, this.#waiting] = [0, []];
    if (this.#storing.size >= this.atOnce) {
      await Promise.race(this.#storing);
      // A part that failed is reported as soon as those before it are placed.
      if (this.#spare.length === 0) await this.#placed;
    }
    this.#buffer = this.#spare.pop() ?? this.cipher.buffer();
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
