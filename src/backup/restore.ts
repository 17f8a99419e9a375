import type { Storage } from '../storage/index.js';
import type { Progress } from './backup.js';
import { BackupError, type Entry, type FileEntry, type FormatOf } from './format.js';
import { readManifest } from './manifest.js';
import { Repository } from './repository.js';
import { chooseSnapshot } from './snapshots.js';

/** A file that could not be restored, or whose parts do not verify. */
export interface Damage {
  /** empty when a part of the list of files itself is damaged, and it is unknown which files it named */
  readonly path: string;
  readonly reason: string;
}

export interface RestoreSummary {
  readonly snapshot: string;
  /** restored whole */
  readonly files: number;
  readonly bytes: number;
  readonly damaged: readonly Damage[];
}

export interface RestoreOptions {
  /** a snapshot's name or the beginning of it, or a time; without it the newest */
  readonly at?: string;
  readonly progress?: Progress;
  readonly formatOf?: FormatOf;
}

/** Where entries are restored to. Their paths have been checked: relative, and within. */
export interface Destination {
  /** Makes a directory or a link. */
  make(entry: Exclude<Entry, FileEntry>): Promise<void>;
  /** Begins a file; its bytes follow, then `end`, or `discard` when it is damaged. */
  begin(entry: FileEntry): Promise<{
    write(piece: Uint8Array): Promise<void>;
    end(): Promise<void>;
    discard(): Promise<void>;
  }>;
}

/** Parts that are fetched and decrypted before they are needed. */
const AHEAD = 2;

/** Fetches parts in the order in which they are planned, ahead of who takes them. */
class ReadAhead {
  readonly #repository: Repository;
  #planned: string[] = [];
  readonly #fetching = new Map<string, { content: Promise<Uint8Array>; buffer: Uint8Array }>();
  readonly #spare: Uint8Array[] = [];

  constructor(repository: Repository) {
    this.#repository = repository;
  }

  plan({ content }: FileEntry): void {
    for (const [part] of content) if (part !== this.#planned.at(-1)) this.#planned.push(part);
  }

  get enough(): boolean {
    return this.#planned.length > AHEAD;
  }

  /** What is returned is good until the next call. @throws BackupError when it is missing or damaged */
  take(part: string): Promise<Uint8Array> {
    this.#planned = this.#planned.slice(this.#planned.indexOf(part));
    const next = this.#planned.slice(0, AHEAD);
    for (const [name, { content, buffer }] of this.#fetching) {
      if (next.includes(name)) continue;
      this.#fetching.delete(name);
      const done = () => void this.#spare.push(buffer);
      content.then(done, done);
    }
    for (const name of next) {
      if (this.#fetching.has(name)) continue;
      const buffer = this.#spare.pop() ?? this.#repository.format.buffer();
      const content = this.#repository.getPart(name, buffer);
      content.catch(() => undefined);
      this.#fetching.set(name, { content, buffer });
    }
    return (this.#fetching.get(part) as { content: Promise<Uint8Array> }).content;
  }
}

/**
 * Restores a snapshot, in constant memory. Files that are damaged are left out and named; the rest is restored.
 * @param backupKey 32 bytes
 * @throws BackupError when there is no such snapshot, or the key is another's; StorageError
 */
export async function restoreEntries(
  storage: Storage,
  destination: Destination,
  backupKey: Uint8Array,
  { at, progress = () => undefined, formatOf }: RestoreOptions = {},
): Promise<RestoreSummary> {
  const repository = await Repository.open(storage, backupKey, formatOf);
  const name = await chooseSnapshot(repository, at);
  const snapshot = await repository.snapshot(name);
  const damaged: Damage[] = [];
  const listDamage = (error: BackupError) => damaged.push({ path: '', reason: error.message });
  const parts = new ReadAhead(repository);
  let [files, bytes] = [0, 0];
  for await (const entry of ahead(readManifest(repository, snapshot.manifest, listDamage), parts)) {
    checkPath(entry.path);
    if (entry.type !== 'file') {
      await destination.make(entry);
      continue;
    }
    const file = await destination.begin(entry);
    try {
      for (const [part, offset, length] of entry.content) {
        const piece = (await parts.take(part)).subarray(offset, offset + length);
        if (piece.length !== length)
          throw new BackupError(`part ${part} is shorter than the list of files says`);
        await file.write(piece);
        bytes += length;
        progress(bytes, snapshot.bytes);
      }
    } catch (error) {
      await file.discard();
      if (!(error instanceof BackupError)) throw error;
      damaged.push({ path: entry.path, reason: error.message });
      continue;
    }
    await file.end();
    files++;
  }
  return { snapshot: name, files, bytes, damaged };
}

/** The same entries, with those that come next planned. */
async function* ahead(entries: AsyncGenerator<Entry>, parts: ReadAhead): AsyncGenerator<Entry> {
  const waiting: Entry[] = [];
  for await (const entry of entries) {
    waiting.push(entry);
    if (entry.type === 'file') parts.plan(entry);
    while (waiting.length > 0 && (parts.enough || waiting.length > 1000)) yield waiting.shift() as Entry;
  }
  yield* waiting;
}

function checkPath(path: string): void {
  if (
    path.split('/').some((segment) => segment === '' || segment === '.' || segment === '..') ||
    path.includes('\0')
  )
    throw new BackupError('the list of files names a path outside of the backup');
}
