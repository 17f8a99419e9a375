import { type Storage, StorageError } from '../storage/storage.js';
import type { Progress } from './backup.js';
import type { Cipher } from './cipher.js';
import { BackupError } from './errors.js';
import type { Entry, FileEntry, Part } from './format.js';
import { mayHold, readEntries } from './list.js';
import type { BackupKey } from './openers.js';
import { isWithin } from './paths.js';
import { ReadAhead } from './read-ahead.js';
import { Repository } from './repository.js';
import { type Choice, chooseSnapshot } from './snapshots.js';
import type { Problem } from './source.js';

/** A file that could not be restored, or whose parts do not verify. */
export type Damage = Problem;

/** Nothing can be restored to this place. */
export class DestinationError extends BackupError {}

export interface RestoreSummary {
  readonly snapshot: string;
  /** files that were restored completely, or were there already */
  readonly files: number;
  readonly bytes: number;
  /** how many things could not be read when the backup was made */
  readonly leftOut: number;
  readonly damaged: readonly Damage[];
}

export interface RestoreOptions extends Choice {
  readonly progress?: Progress;
  readonly cipher?: Cipher;
  /** wanted paths, with everything below them; without it everything is restored */
  readonly only?: readonly string[];
}

/** Where the bytes of a file go: `end`, or `discard` when it is damaged. */
export interface Sink {
  write(piece: Uint8Array): Promise<void> | void;
  /** Leaves `length` zero bytes as a hole; without this method zeros are written. */
  hole?(length: number): Promise<void> | void;
  end(): Promise<void> | void;
  discard(): Promise<void> | void;
}

/**
 * Where entries are restored to. An error leaves out one entry, which is named; DestinationError ends
 * everything.
 */
export interface Destination {
  /** Makes a directory or a link. */
  make(entry: Exclude<Entry, FileEntry>): Promise<void> | void;
  /** Begins a file. @returns `undefined` when it is there already */
  begin(entry: FileEntry): Promise<Sink | undefined> | Sink | undefined;
}

/**
 * Restores a snapshot, in constant memory. What is damaged or refused is left out and named; the rest is
 * restored.
 * @throws BackupError when there is no such snapshot, or the key belongs to another backup; StorageError
 */
export async function restoreEntries(
  storage: Storage,
  destination: Destination,
  backupKey: BackupKey,
  { progress = () => undefined, cipher, only = [''], ...choice }: RestoreOptions = {},
): Promise<RestoreSummary> {
  const repository = await Repository.open(storage, backupKey, cipher);
  const snapshot = await chooseSnapshot(repository, choice);
  const damaged: Damage[] = [];
  const name = (path: string, error: unknown) => {
    if (error instanceof StorageError || error instanceof DestinationError) throw error;
    damaged.push({ path, reason: (error as Error).message });
  };
  const found = new Set<string>();
  const entries = readEntries(
    repository,
    snapshot,
    (error) => name('', error),
    (first, next) => only.some((path) => mayHold(first, next, path)),
  );
  const parts = new ReadAhead(repository);
  const restored = { files: 0, bytes: 0 };
  for await (const entry of ahead(wanted(entries, only, found), parts)) {
    try {
      if (entry.type !== 'file') await destination.make(entry);
      else {
        await restoreFile(entry, destination, parts, (bytes) =>
          progress(restored.bytes + bytes, Math.max(snapshot.bytes, restored.bytes + bytes)),
        );
        restored.files++;
        restored.bytes += entry.size;
      }
    } catch (error) {
      name(entry.path, error);
    }
  }
  for (const path of only)
    if (path !== '' && !found.has(path))
      damaged.push({ path, reason: 'the snapshot has no such file or folder' });
  return { snapshot: snapshot.name, ...restored, leftOut: snapshot.leftOut, damaged };
}

async function restoreFile(
  entry: FileEntry,
  destination: Destination,
  parts: ReadAhead,
  progress: (bytes: number) => void,
): Promise<void> {
  const sink = await destination.begin(entry);
  if (!sink) return;
  let bytes = 0;
  try {
    for (const { part, offset, length } of entry.content) {
      if (part) await sink.write(await pieceOf(part, offset, length, parts));
      else if (sink.hole) await sink.hole(length);
      else await sink.write(new Uint8Array(length));
      bytes += length;
      progress(bytes);
    }
    if (bytes !== entry.size) throw new BackupError('a piece of it is missing in the list of files');
  } catch (error) {
    await sink.discard();
    throw error;
  }
  await sink.end();
}

async function pieceOf(part: Part, offset: number, length: number, parts: ReadAhead): Promise<Uint8Array> {
  const piece = (await parts.take(part)).subarray(offset, offset + length);
  if (piece.length === length) return piece;
  throw new BackupError(`part ${part.name} is shorter than the list of files says`);
}

/** The entries within the paths, and the folders above them. */
async function* wanted(
  entries: AsyncGenerator<Entry>,
  only: readonly string[],
  found: Set<string>,
): AsyncGenerator<Entry> {
  for await (const entry of entries) {
    for (const path of only) if (entry.path === path) found.add(path);
    const isAbove = entry.type === 'directory' && only.some((path) => isWithin(path, entry.path));
    if (isAbove || only.some((path) => isWithin(entry.path, path))) yield entry;
  }
}

/** The same entries; the parts of those that come next are planned. */
async function* ahead(entries: AsyncGenerator<Entry>, parts: ReadAhead): AsyncGenerator<Entry> {
  const waiting: Entry[] = [];
  for await (const entry of entries) {
    waiting.push(entry);
    if (entry.type === 'file') parts.plan(entry);
    while (waiting.length > 0 && (parts.enough || waiting.length > 1000)) yield waiting.shift() as Entry;
  }
  yield* waiting;
}
