import type { FileEntry, Part } from './format.js';
import type { Repository } from './repository.js';

/** Fetches parts in the planned order, before they are taken. */
export class ReadAhead {
  readonly #repository: Repository;
  readonly #ahead: number;
  #planned: Part[] = [];
  readonly #fetching = new Map<string, { content: Promise<Uint8Array>; buffer: Uint8Array }>();
  readonly #spare: Uint8Array[] = [];

  constructor(repository: Repository) {
    this.#repository = repository;
    this.#ahead = repository.storage.parallel;
  }

  plan({ content }: FileEntry): void {
    for (const { part } of content)
      if (part && part.name !== this.#planned.at(-1)?.name) this.#planned.push(part);
  }

  get enough(): boolean {
    return this.#planned.length > this.#ahead;
  }

  /** The result is valid until the next call. @throws BackupError when the part is missing or damaged */
  take(part: Part): Promise<Uint8Array> {
    // Parts planned before this one have been taken, or are no longer wanted.
    const at = this.#planned.findIndex(({ name }) => name === part.name);
    if (at >= 0) this.#planned.splice(0, at);
    else this.#planned.unshift(part);
    const next = this.#planned.slice(0, this.#ahead);
    for (const [name, { content, buffer }] of this.#fetching) {
      if (next.some((wanted) => wanted.name === name)) continue;
      this.#fetching.delete(name);
      const done = () => void this.#spare.push(buffer);
      content.then(done, done);
    }
    for (const wanted of next) {
      if (this.#fetching.has(wanted.name)) continue;
      const buffer = this.#spare.pop() ?? this.#repository.cipher.buffer();
      const content = this.#repository.getPart(wanted, buffer);
      content.catch(() => undefined);
      this.#fetching.set(wanted.name, { content, buffer });
    }
    return (this.#fetching.get(part.name) as { content: Promise<Uint8Array> }).content;
  }
}
