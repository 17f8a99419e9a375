import { type Storage, StorageError } from '../storage/storage.js';
import { TAG_BYTES } from './cipher.js';
import { randomHex } from './encoding.js';
import { BackupError } from './errors.js';
import type { Part, Snapshot } from './format.js';
import { readParts } from './list.js';
import { MOST_NAMES, packNames, unpackNames } from './names.js';
import { LIFE_MS, Needed } from './needed.js';
import { objectsOf } from './objects.js';
import type { BackupKey } from './openers.js';
import { Repository } from './repository.js';
import { keepReserve, useReserve } from './reserve.js';
import { checkSeen, type SeenEpoch } from './seen.js';
import { listSnapshots, snapshotPath } from './snapshots.js';

/**
 * Younger parts may belong to a backup that is being made now. Marked parts are deleted by a prune that comes
 * this much later.
 */
const GRACE_MS = 24 * 3_600_000;
/** A prune deletes nothing on the basis of an older list. */
const STALE_MS = 24 * 3_600_000;

/** Most names in the first mark of a prune: they fit into half of the reserve. */
const FIRST_MARK = 4000;

export interface Pruned {
  /** how many snapshots were deleted */
  readonly snapshots: number;
  /** how many parts were deleted */
  readonly parts: number;
  /** how many parts wait to be deleted by a later prune */
  readonly marked: number;
  /** names of snapshots that cannot be read, and were left as they are */
  readonly damaged: readonly string[];
}

/**
 * Deletes all but the newest snapshots of each host and source, and the parts that no snapshot needs. Such
 * parts are marked first, and deleted by a prune a day later.
 * @param keep how many snapshots of each host and source stay, at least 1; the newest complete one stays too
 * @param graceMs how long parts count as young, and marks wait; 0 if no other device uses the storage @throws
 * BackupError, and deletes nothing, when something is sealed under a key that this one does not open
 */
export async function prune(
  storage: Storage,
  backupKey: BackupKey,
  keep: number,
  graceMs = GRACE_MS,
  seenEpoch: SeenEpoch = () => undefined,
): Promise<Pruned> {
  if (!Number.isInteger(keep) || keep < 1) throw new BackupError('at least one snapshot must stay');
  const repository = await Repository.open(storage, backupKey);
  checkSeen(repository.keyring, seenEpoch);
  // Before anything is deleted.
  repository.head;
  const { snapshots, damaged, locked } = await listSnapshots(repository);
  if (locked.length > 0)
    throw new BackupError(
      'this backup has a part that this key does not open, and nothing was deleted; prune with the key that opens it',
    );
  // A list without snapshots may be incomplete.
  if (snapshots.length === 0)
    throw new BackupError(`${storage.location} shows no snapshot that can be read; nothing was deleted`);
  const sizes = new Map<string, number>();
  for await (const { part, size } of repository.parts()) sizes.set(part, size);
  const over = new Set(await tooMany(repository, snapshots, keep, sizes));
  for (const { name } of over) await storage.delete(snapshotPath(name));
  await useReserve(storage);
  const needed = new Needed(repository);
  for (const snapshot of snapshots) if (!over.has(snapshot)) await needed.add(snapshot);
  await mark(repository, needed, graceMs);
  const swept = await sweep(repository, needed, graceMs);
  await keepReserve(storage);
  await storage.flush();
  return { snapshots: over.size, ...swept, damaged };
}

/**
 * The snapshots to delete: for each host and source all except the newest ones and the newest complete one.
 */
async function tooMany(
  repository: Repository,
  snapshots: readonly Snapshot[],
  keep: number,
  sizes: ReadonlyMap<string, number>,
): Promise<Snapshot[]> {
  const originOf = ({ host, source }: Snapshot) => JSON.stringify([host, source]);
  const origins = new Set(snapshots.filter(({ version }) => version > 1).map(originOf));
  const [only, ...others] = origins;
  const groups = new Map<string, Snapshot[]>();
  for (const snapshot of snapshots) {
    // Version 1 did not say where a snapshot is from. If there is only one origin, it is an older snapshot of
    // that.
    const isOlder = snapshot.version === 1 && only !== undefined && others.length === 0;
    const origin = isOlder ? only : originOf(snapshot);
    groups.set(origin, [...(groups.get(origin) ?? []), snapshot]);
  }
  const over: Snapshot[] = [];
  for (const group of groups.values()) {
    const [stay, go] = [group.slice(-keep), group.slice(0, -keep)];
    if (go.length === 0) continue;
    let good = false;
    for (const snapshot of stay.reverse()) good ||= await isWhole(repository, snapshot, sizes);
    while (!good && go.length > 0) good = await isWhole(repository, go.pop() as Snapshot, sizes);
    // None of them is complete: the newest stay, and so do all earlier ones.
    if (good) over.push(...go);
  }
  return over;
}

/**
 * Whether a snapshot is complete: it left nothing out, is not empty, and all its parts are there in full
 * length.
 */
async function isWhole(
  repository: Repository,
  snapshot: Snapshot,
  sizes: ReadonlyMap<string, number>,
): Promise<boolean> {
  const { leftOut, files, version } = snapshot;
  if (leftOut > 0 || files === 0) return false;
  const isThere = ({ name, length }: Part): boolean => {
    const size = sizes.get(name);
    return size !== undefined && (length === undefined || size === length + TAG_BYTES);
  };
  try {
    // How long the lists of version 1 are is not known.
    const lists = snapshot.list.map(({ part }) => (version === 1 ? { ...part, length: undefined } : part));
    if (!lists.every(isThere)) return false;
    for await (const { parts } of readParts(repository, snapshot)) if (!parts.every(isThere)) return false;
    return true;
  } catch (error) {
    if (error instanceof BackupError) return false;
    throw error;
  }
}

/** The storage's own time, taken from an object that is written now. */
async function timeOf(repository: Repository): Promise<number> {
  const { storage, head } = repository;
  const name = `marks/${randomHex(16)}`;
  await storage.write(name, await head.seal(name, new Uint8Array()));
  let now = Date.now();
  for await (const stored of objectsOf(storage, 'marks')) if (stored.name === name) now = stored.written;
  await storage.delete(name);
  return now;
}

/** Marks the parts that nobody needs, so that no run begins to rely on them. */
async function mark(repository: Repository, needed: Needed, graceMs: number): Promise<void> {
  const now = await timeOf(repository);
  const marked = new Set<string>();
  for await (const { content } of repository.sealed('marks', MOST_NAMES))
    for (const name of unpackNames(content ?? new Uint8Array())) marked.add(name);
  await needed.look(now);
  const over: string[] = [];
  for await (const { part, written } of repository.parts())
    if (!needed.has(part) && !marked.has(part) && now - written >= graceMs) over.push(part);
  // The first mark is small enough for a full storage. What it frees makes room for the second.
  for (const some of [over.slice(0, FIRST_MARK), over.slice(FIRST_MARK)]) {
    if (some.length === 0) continue;
    const name = `marks/${randomHex(16)}`;
    try {
      await repository.storage.write(name, await repository.head.seal(name, packNames(some)));
    } catch (error) {
      if (some[0] === over[0] || !(error instanceof StorageError)) throw error;
    }
  }
  await repository.storage.flush();
}

/** Deletes the parts of marks that have waited, and that still nobody needs. */
async function sweep(
  repository: Repository,
  needed: Needed,
  graceMs: number,
): Promise<Pick<Pruned, 'parts' | 'marked'>> {
  const now = await timeOf(repository);
  const [due, waiting] = [new Set<string>(), new Set<string>()];
  const done: string[] = [];
  for await (const { name, written, content } of repository.sealed('marks', MOST_NAMES)) {
    const into = now - written >= graceMs ? due : waiting;
    for (const part of unpackNames(content ?? new Uint8Array())) into.add(part);
    if (now - written > LIFE_MS + graceMs) done.push(name);
  }
  const listed = Date.now();
  if (due.size > 0) await needed.look(now);
  const there: string[] = [];
  let marked = 0;
  for await (const { part } of repository.parts()) {
    if (due.has(part) && !needed.has(part)) there.push(part);
    else if (waiting.has(part)) marked++;
  }
  for (const part of there) {
    if (Date.now() - listed > STALE_MS)
      throw new BackupError('this prune was suspended for a day; run it again');
    await repository.deletePart(part);
  }
  for (const name of done) await repository.storage.delete(name);
  return { parts: there.length, marked };
}
