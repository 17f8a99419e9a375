import type { Storage } from '../storage/index.js';
import { parseObject } from './encoding.js';
import { V1 } from './epoch.js';
import { BackupError, Unopened } from './errors.js';
import type { Origin, Snapshot } from './format.js';
import { UnknownEpoch } from './keyring.js';
import { partOf } from './list.js';
import { objectsOf } from './objects.js';
import type { BackupKey } from './openers.js';
import { Repository } from './repository.js';

/** A name of version 1, such as 20261125T104233123Z-0123456789abcdef: a time in UTC to the millisecond. */
const OLD = /^\d{8}T\d{9}Z-[0-9a-f]{16}$/;
const NAME = /^(\d{4})-(\d{8})-[0-9a-f]{16}$/;
/** Most bytes of a snapshot: lists of two hundred million files. */
const MOST = 64 * 1024 * 1024;

export const snapshotPath = (name: string): string => `snapshots/${name}`;

export interface SnapshotName {
  readonly name: string;
  /** the epoch's number; 0 in version 1 */
  readonly number: number;
  readonly sequence: number;
}

/** Names of the finished snapshots, in their order: the newest last. */
export async function snapshotNames(storage: Storage): Promise<SnapshotName[]> {
  const [old, names]: [string[], SnapshotName[]] = [[], []];
  for await (const stored of objectsOf(storage, 'snapshots')) {
    const name = stored.name.slice(snapshotPath('').length);
    const [, number, sequence] = NAME.exec(name) ?? [];
    if (number) names.push({ name, number: Number(number), sequence: Number(sequence) });
    else if (OLD.test(name)) old.push(name);
  }
  names.sort((a, b) => (a.name < b.name ? -1 : 1));
  return [...old.sort().map((name) => ({ name, number: 0, sequence: 0 })), ...names];
}

/**
 * @throws BackupError when it is missing, damaged, sealed under another key, or not the one that its name
 * says
 */
export async function readSnapshot(
  repository: Repository,
  { name, number }: SnapshotName,
): Promise<Snapshot> {
  const path = snapshotPath(name);
  const sealed = await repository.storage.read(path, MOST);
  if (!sealed) throw new BackupError(`snapshot ${name} is missing`);
  const { v1 } = repository.keyring;
  if (number === 0 && !v1) throw new Unopened(`snapshot ${name}`);
  const opened = number === 0 ? undefined : await openSnapshot(repository, name, sealed);
  if (opened && opened.epoch.number !== number) throw new BackupError(`snapshot ${name} is damaged`);
  const plaintext = opened?.plaintext ?? ((await v1?.openSnapshot(name, sealed)) as Uint8Array);
  const content = parseObject(plaintext, `snapshot ${name}`) as unknown as Stored;
  const rows = content.list ?? content.manifest;
  if (!Array.isArray(rows)) throw new BackupError(`snapshot ${name} is damaged`);
  const { created, host, source, files, bytes, leftOut } = content;
  return {
    name,
    version: opened ? 2 : 1,
    created: new Date(created),
    ...(host !== undefined && { host: String(host) }),
    ...(source !== undefined && { source: String(source) }),
    files: Number(files),
    bytes: Number(bytes),
    leftOut: Number(leftOut ?? 0),
    list: rows.map(([part, length, first, epoch]) => ({
      part: partOf([part, length, opened ? epoch : V1], opened?.epoch.id ?? V1),
      ...(opened && { first: String(first) }),
    })),
  };
}

async function openSnapshot(repository: Repository, name: string, sealed: Uint8Array) {
  try {
    return await repository.keyring.open(snapshotPath(name), sealed);
  } catch (error) {
    if (error instanceof UnknownEpoch || !(error instanceof BackupError)) throw error;
    throw new Unopened(`snapshot ${name}`);
  }
}

/** A snapshot as its JSON has it. */
type Stored = Omit<Snapshot, 'name' | 'version' | 'created' | 'list'> & {
  created: string;
  list?: unknown[][];
  /** its name in version 1 */
  manifest?: unknown[][];
};

export interface Listing {
  /** in their order, the newest last */
  readonly snapshots: Snapshot[];
  /** names of those that cannot be read */
  readonly damaged: string[];
  /** names of those that are sealed under a key which this one does not open */
  readonly locked: string[];
}

/** All snapshots. @throws StorageError */
export const listSnapshots = async (repository: Repository): Promise<Listing> =>
  readSnapshots(repository, await snapshotNames(repository.storage));

/** The snapshots of these names, several read at the same time. @throws StorageError */
export async function readSnapshots(
  repository: Repository,
  names: readonly SnapshotName[],
): Promise<Listing> {
  const listing: Listing = { snapshots: [], damaged: [], locked: [] };
  const { parallel } = repository.storage;
  for (let at = 0; at < names.length; at += parallel) {
    const some = names.slice(at, at + parallel);
    const read = await Promise.all(some.map((name) => tryRead(repository, name)));
    read.forEach((result, i) => {
      const { name } = some[i] as SnapshotName;
      if (result === 'damaged' || result === 'locked') listing[result].push(name);
      else if (result) listing.snapshots.push(result);
    });
  }
  return listing;
}

/** @returns `undefined` when it was deleted since it was listed */
async function tryRead(repository: Repository, name: SnapshotName) {
  try {
    return await readSnapshot(repository, name);
  } catch (error) {
    if (error instanceof UnknownEpoch) return 'locked' as const;
    if (!(error instanceof BackupError)) throw error;
    return (await repository.storage.size(snapshotPath(name.name))) === undefined
      ? undefined
      : ('damaged' as const);
  }
}

/** Whether a snapshot comes from the wanted host and source, if these are given. */
export const isFrom = ({ host, source }: Origin, wanted: Origin): boolean =>
  (wanted.host === undefined || host === wanted.host) &&
  (wanted.source === undefined || source === wanted.source);

/** The snapshots that can be read. */
async function* newestFirst(repository: Repository): AsyncGenerator<Snapshot> {
  for (const name of (await snapshotNames(repository.storage)).reverse()) {
    const found = await tryRead(repository, name);
    if (typeof found === 'object') yield found;
  }
}

/** The newest snapshot that can be read, from the wanted origin if one is given. @throws StorageError */
export async function newestSnapshot(repository: Repository, origin: Origin): Promise<Snapshot | undefined> {
  let other: Snapshot | undefined;
  for await (const found of newestFirst(repository)) {
    if (found.host === origin.host && found.source === origin.source) return found;
    other ??= found;
  }
  return other;
}

/** Which snapshot is meant. */
export interface Choice extends Origin {
  /**
   * its name or the beginning of it; or a time, which means the newest snapshot that is not later. Without it
   * the newest
   */
  readonly at?: string;
}

/** @throws BackupError when no snapshot or several are meant, or it is damaged; StorageError */
export async function chooseSnapshot(repository: Repository, { at, ...origin }: Choice): Promise<Snapshot> {
  const names = await snapshotNames(repository.storage);
  const { location } = repository.storage;
  if (names.length === 0) throw new BackupError(`${location} holds no finished backup`);
  const named = at === undefined ? [] : names.filter(({ name }) => name.startsWith(at));
  if (named.length === 1) return readSnapshot(repository, named[0] as SnapshotName);
  const time = at === undefined ? Number.POSITIVE_INFINITY : Date.parse(at);
  if (named.length > 1 || Number.isNaN(time))
    throw new BackupError(`"${at}" names ${named.length} snapshots; see bkv snapshots`);
  const from = [origin.host, origin.source].filter(Boolean).join(', ');
  for (const name of names.reverse()) {
    const everything = at === undefined && from === '';
    // The newest snapshot was asked for. If it is damaged, an older one in its place would be a false success.
    const found = everything ? await readSnapshot(repository, name) : await tryRead(repository, name);
    if (typeof found === 'object' && isFrom(found, origin) && found.created.getTime() <= time) return found;
  }
  throw new BackupError(
    `there is no snapshot${from && ` of ${from}`}${at === undefined ? '' : ` of ${at} or before`}`,
  );
}

/** Which backup it is, for a device that remembers it. */
export interface Identity {
  /** identifies it */
  readonly id: string;
  /** marks of its epochs, the newest first: a device keeps the first, and gives it back as `seenEpoch` */
  readonly epochs: readonly string[];
}

export const identityOf = ({ id, keyring }: Repository): Identity => ({
  id,
  epochs: keyring.epochs.map(({ mark }) => mark),
});

/** What a device remembers of a backup, and the newest snapshot that can be read. @throws BackupError, StorageError */
export async function identify(
  storage: Storage,
  backupKey: BackupKey,
): Promise<Identity & { readonly newest?: string }> {
  const repository = await Repository.open(storage, backupKey);
  const identity = identityOf(repository);
  for await (const { name } of newestFirst(repository)) return { ...identity, newest: name };
  return identity;
}

/** The snapshots of a backup in their order, the newest last, and the names of those that cannot be read. */
export async function snapshots(
  storage: Storage,
  backupKey: BackupKey,
  origin: Origin = {},
): Promise<Listing & Identity> {
  const repository = await Repository.open(storage, backupKey);
  const { snapshots, ...rest } = await listSnapshots(repository);
  return {
    ...identityOf(repository),
    snapshots: snapshots.filter((snapshot) => isFrom(snapshot, origin)),
    ...rest,
  };
}
