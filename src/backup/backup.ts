import type { Storage } from '../storage/index.js';
import {
  type DirectoryEntry,
  type Entry,
  type FileEntry,
  type FormatOf,
  PART_BYTES,
  type SymlinkEntry,
} from './format.js';
import { comparePaths, ManifestWriter, Packer, readManifest } from './manifest.js';
import { Repository } from './repository.js';

/** Called as bytes are done; `total` is known from the start. */
export type Progress = (done: number, total: number) => void;

export interface BackupSummary {
  readonly snapshot: string;
  readonly files: number;
  /** of all files together */
  readonly bytes: number;
  /** files that were read, since they are new or have changed */
  readonly changed: number;
}

/** A file that is being read. */
export interface OpenFile {
  /** Fills what it can of a buffer. @returns how many bytes, 0 at the end */
  read(into: Uint8Array): Promise<number>;
  close(): Promise<void>;
}

/** What is backed up: entries in the order of their paths, folders before what they hold. */
export type SourceEntry =
  | (Omit<FileEntry, 'content'> & { open(): Promise<OpenFile> })
  | DirectoryEntry
  | SymlinkEntry;

/** Entries that wait for the part in which their last bytes lie. */
const MAX_PENDING = 10_000;

/** What the newest snapshot knows, asked in the order of the paths. */
class Before {
  readonly #repository: Repository;
  readonly #entries: AsyncGenerator<Entry>;
  #next: Entry | undefined;
  readonly #there = new Map<string, boolean>();

  private constructor(repository: Repository, entries: AsyncGenerator<Entry>) {
    this.#repository = repository;
    this.#entries = entries;
  }

  static async open(repository: Repository): Promise<Before> {
    const newest = (await repository.snapshots()).at(-1);
    // What cannot be read of it is stored anew.
    const manifest = newest ? (await repository.snapshot(newest)).manifest : [];
    const before = new Before(
      repository,
      readManifest(repository, manifest, () => undefined),
    );
    await before.#advance();
    return before;
  }

  /** The file's content, when it is as it was and all its parts are still there. */
  async contentOf({ path, size, mtime }: FileEntry): Promise<FileEntry['content'] | undefined> {
    while (this.#next && comparePaths(this.#next.path, path) < 0) await this.#advance();
    const known = this.#next;
    if (known?.path !== path || known.type !== 'file' || known.size !== size || known.mtime !== mtime)
      return undefined;
    for (const [part] of known.content) {
      const there = this.#there.get(part) ?? (await this.#repository.hasPart(part));
      if (this.#there.size > 10_000) this.#there.clear();
      this.#there.set(part, there);
      if (!there) return undefined;
    }
    return known.content;
  }

  async #advance(): Promise<void> {
    this.#next = (await this.#entries.next()).value;
  }
}

/**
 * Encrypts entries into a backup, in constant memory. Files whose size and time are as in the newest snapshot are not
 * read; parts that are there already are not written. Cut off, it leaves no snapshot, and the next run goes on with its
 * parts.
 * @param total bytes of all files together, for `progress`
 * @param backupKey 32 bytes
 * @throws BackupError, StorageError
 */
export async function backupEntries(
  source: AsyncIterable<SourceEntry> | Iterable<SourceEntry>,
  total: number,
  storage: Storage,
  backupKey: Uint8Array,
  { progress = () => undefined, formatOf }: { progress?: Progress; formatOf?: FormatOf } = {},
): Promise<BackupSummary> {
  const repository = await Repository.openOrCreate(storage, backupKey, formatOf);
  const before = await Before.open(repository);
  const manifest = new ManifestWriter(repository);
  const pending: Entry[] = [];
  const write = async (entries: readonly Entry[]) => {
    for (const entry of entries) await manifest.write(entry);
  };
  const data = new Packer(repository, () => {
    // The last one may still be growing: its later parts are not stored yet.
    const complete = pending.splice(0, pending.length - 1);
    return () => write(complete);
  });

  let [files, bytes, changed] = [0, 0, 0];
  try {
    for await (const found of source) {
      if (pending.length > MAX_PENDING) {
        await data.drain();
        await write(pending.splice(0));
      }
      if (found.type !== 'file') {
        pending.push(found);
        continue;
      }
      const { open, ...rest } = found;
      const entry: FileEntry = { ...rest, content: [] };
      pending.push(entry);
      files++;
      const known = await before.contentOf(entry);
      if (known) {
        entry.content = known;
        bytes += entry.size;
        progress(bytes, Math.max(total, bytes));
        continue;
      }
      changed++;
      const file = await open();
      try {
        // A file that fits into no rest of a part begins a part of its own, so that its parts are the same next time.
        if (entry.size >= PART_BYTES) await data.flush();
        entry.size = 0;
        for (;;) {
          const length = await file.read(data.room());
          if (length === 0) break;
          entry.size += length;
          bytes += length;
          await data.commit(length, (place) => entry.content.push(place));
          progress(bytes, Math.max(total, bytes));
        }
      } finally {
        await file.close();
      }
    }
  } finally {
    await data.end();
  }
  await write(pending);
  await manifest.end();
  const snapshot = await repository.putSnapshot({ files, bytes, manifest: manifest.parts });
  return { snapshot, files, bytes, changed };
}
