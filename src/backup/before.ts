import type { Entry, FileEntry, Part, Piece, Snapshot } from './format.js';
import { readEntries } from './list.js';
import { comparePaths } from './paths.js';
import type { Repository } from './repository.js';
import type { Run } from './run.js';

/** Looks files up in an earlier snapshot. Paths must be asked for in order. */
export class Before {
  readonly #entries: AsyncGenerator<Entry>;
  #next: Entry | undefined;

  private constructor(
    readonly run: Run,
    entries: AsyncGenerator<Entry>,
  ) {
    this.#entries = entries;
  }

  /** @param snapshot the last one, if it is to be used at all */
  static async open(
    repository: Repository,
    run: Run,
    snapshot: Pick<Snapshot, 'list' | 'version'> = { list: [], version: 2 },
  ): Promise<Before> {
    // Whatever cannot be read from it is stored again.
    const before = new Before(
      run,
      readEntries(repository, snapshot, () => undefined),
    );
    await before.#advance();
    return before;
  }

  /** The file's content, if the file has not changed and all its parts are there. */
  async contentOf(file: FileEntry): Promise<Piece[] | undefined> {
    while (this.#next && comparePaths(this.#next.path, file.path) < 0) await this.#advance();
    const known = this.#next;
    if (known?.path !== file.path || known.type !== 'file' || !isSame(known, file)) return undefined;
    if (known.content.reduce((sum, { length }) => sum + length, 0) !== file.size) return undefined;
    const named = known.content.map(({ part }) => part).filter((part): part is Part => part !== undefined);
    const parts = this.run.rely([...new Set(named)]);
    if (!parts) return undefined;
    const byName = new Map(parts.map((part) => [part.name, part]));
    return known.content.map(({ part, ...place }) => ({ ...place, part: part && byName.get(part.name) }));
  }

  async #advance(): Promise<void> {
    this.#next = (await this.#entries.next()).value;
  }
}

/** Version 1 kept times only to the millisecond. */
function isSame(known: FileEntry, { size, mtime, ctime }: FileEntry): boolean {
  const sameTime =
    known.ctime === undefined
      ? Math.round(known.mtime) === Math.round(mtime)
      : known.mtime === mtime && (ctime === undefined || known.ctime === ctime);
  return known.size === size && sameTime;
}
