import { BackupError } from './errors.js';
import type { Snapshot } from './format.js';
import { readParts } from './list.js';
import { MOST_NAMES, unpackNames } from './names.js';
import type { Repository } from './repository.js';
import { readSnapshots, snapshotNames } from './snapshots.js';

/** Older claims were left behind by runs that have ended; older marks have done their work. */
export const LIFE_MS = 7 * 24 * 3_600_000;

/**
 * The parts that claims and snapshots name. It only grows while a prune looks again and again, so that it reads
 * each snapshot once, and once each list, of which snapshots have most in common.
 */
export class Needed {
  readonly #repository: Repository;
  readonly #parts = new Set<string>();
  /** lists whose parts are all among these */
  readonly #lists = new Set<string>();
  readonly #snapshots = new Set<string>();

  constructor(repository: Repository) {
    this.#repository = repository;
  }

  has(part: string): boolean {
    return this.#parts.has(part);
  }

  /** Takes the parts of a snapshot. One with a damaged list is read again at the next look. */
  async add({ name, list, version }: Snapshot): Promise<void> {
    for (const { part } of list) this.#parts.add(part.name);
    // In version 1 a list can be read only after the one before it.
    const fresh = version === 1 ? list : list.filter(({ part }) => !this.#lists.has(part.name));
    let whole = true;
    const onDamage = () => {
      whole = false;
    };
    for await (const { list, parts } of readParts(this.#repository, { list: fresh, version }, onDamage)) {
      for (const part of parts) this.#parts.add(part.name);
      this.#lists.add(list.name);
    }
    if (whole) this.#snapshots.add(name);
  }

  /**
   * Takes what is new. Claims are read first, because a run writes its snapshot before it deletes its claim.
   * @param now by the storage's clock, milliseconds
   * @throws BackupError, StorageError
   */
  async look(now: number): Promise<void> {
    const { storage } = this.#repository;
    for await (const { name, written, content } of this.#repository.sealed('claims', MOST_NAMES)) {
      if (now - written > LIFE_MS) await storage.delete(name);
      else for (const part of unpackNames(content ?? new Uint8Array())) this.#parts.add(part);
    }
    const names = (await snapshotNames(storage)).filter(({ name }) => !this.#snapshots.has(name));
    const { snapshots, locked } = await readSnapshots(this.#repository, names);
    if (locked.length > 0)
      throw new BackupError('another device has changed the keys of this backup meanwhile; try again');
    for (const snapshot of snapshots) await this.add(snapshot);
  }
}
