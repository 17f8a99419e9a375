import type { Storage } from '../storage/index.js';
import type { Progress } from './backup.js';
import { BackupError, type Snapshot } from './format.js';
import { readManifest } from './manifest.js';
import { Repository } from './repository.js';
import type { Damage } from './restore.js';

/** A finished run of a backup. */
export interface SnapshotInfo {
  readonly name: string;
  readonly created: Date;
  readonly files: number;
  readonly bytes: number;
}

const info = (name: string, { created, files, bytes }: Snapshot): SnapshotInfo => ({
  name,
  created: new Date(created),
  files,
  bytes,
});

/**
 * The snapshots of a backup, oldest first, those that cannot be read, and the backup's id (16 hexadecimal digits).
 * @param backupKey 32 bytes
 */
export async function snapshots(
  storage: Storage,
  backupKey: Uint8Array,
): Promise<{ id: string; snapshots: SnapshotInfo[]; damaged: string[] }> {
  const repository = await Repository.open(storage, backupKey);
  return { id: repository.format.id, ...(await list(repository)) };
}

async function list(repository: Repository) {
  const found: SnapshotInfo[] = [];
  const damaged: string[] = [];
  for (const name of await repository.snapshots()) {
    try {
      found.push(info(name, await repository.snapshot(name)));
    } catch (error) {
      if (!(error instanceof BackupError)) throw error;
      damaged.push(name);
    }
  }
  return { snapshots: found, damaged };
}

/**
 * The name of one snapshot.
 * @param at its name or the beginning of it, or a time (the newest that is not later); without it the newest
 * @throws BackupError
 */
export async function chooseSnapshot(repository: Repository, at?: string): Promise<string> {
  const names = await repository.snapshots();
  const newest = names.at(-1);
  if (!newest) throw new BackupError(`${repository.storage.location} holds no finished backup`);
  if (at === undefined) return newest;
  const named = names.filter((name) => name.startsWith(at));
  if (named.length === 1) return named[0] as string;
  const time = Date.parse(at);
  if (named.length > 1 || Number.isNaN(time))
    throw new BackupError(`"${at}" names ${named.length} snapshots; see bkv snapshots`);
  const { snapshots } = await list(repository);
  const chosen = snapshots.findLast(({ created }) => created.getTime() <= time);
  if (!chosen) throw new BackupError(`there is no snapshot of ${at} or before`);
  return chosen.name;
}

/** What {@link verify} found. */
export interface Verdict {
  readonly snapshots: number;
  readonly parts: number;
  readonly damaged: readonly (Damage & { readonly snapshot: string })[];
}

/**
 * Reads every part that a snapshot names, once, and tells which files of which snapshots are damaged.
 * @param backupKey 32 bytes
 */
export async function verify(
  storage: Storage,
  backupKey: Uint8Array,
  progress: Progress = () => undefined,
): Promise<Verdict> {
  const repository = await Repository.open(storage, backupKey);
  const { snapshots, damaged: unreadable } = await list(repository);
  const damaged = unreadable.map((snapshot) => ({
    snapshot,
    path: '',
    reason: `snapshot ${snapshot} is damaged, or of another key`,
  }));
  let total = 0;
  for await (const _ of repository.parts()) total++;
  const checked = new Map<string, string | undefined>();
  const check = async (part: string): Promise<string | undefined> => {
    if (!checked.has(part)) {
      checked.set(
        part,
        await repository.getPart(part).then(
          () => undefined,
          (error: Error) => error.message,
        ),
      );
      progress(checked.size, Math.max(total, checked.size));
    }
    return checked.get(part);
  };
  for (const { name: snapshot } of snapshots) {
    const { manifest } = await repository.snapshot(snapshot);
    for (const [part] of manifest) {
      const reason = await check(part);
      if (reason) damaged.push({ snapshot, path: '', reason });
    }
    for await (const entry of readManifest(repository, manifest, () => undefined)) {
      if (entry.type !== 'file') continue;
      for (const [part] of entry.content) {
        const reason = await check(part);
        if (!reason) continue;
        damaged.push({ snapshot, path: entry.path, reason });
        break;
      }
    }
  }
  return { snapshots: snapshots.length, parts: checked.size, damaged };
}

/** A part may belong to a backup that is being made now: younger ones are not deleted. */
const GRACE_MS = 24 * 3_600_000;

/**
 * Deletes all but the newest snapshots, and the parts that no snapshot needs.
 * @param backupKey 32 bytes
 * @param keep how many snapshots stay, at least 1
 * @throws BackupError, and deletes nothing, when a snapshot that stays cannot be read
 */
export async function prune(
  storage: Storage,
  backupKey: Uint8Array,
  keep: number,
  graceMs = GRACE_MS,
): Promise<{ snapshots: number; parts: number }> {
  if (!Number.isInteger(keep) || keep < 1) throw new BackupError('at least one snapshot must stay');
  const repository = await Repository.open(storage, backupKey);
  const names = await repository.snapshots();
  const over = names.slice(0, -keep);
  const needed = new Set<string>();
  for (const name of names.slice(-keep)) {
    const { manifest } = await repository.snapshot(name);
    for (const [part] of manifest) needed.add(part);
    for await (const entry of readManifest(repository, manifest))
      if (entry.type === 'file') for (const [part] of entry.content) needed.add(part);
  }
  for (const name of over) await repository.deleteSnapshot(name);
  let parts = 0;
  for await (const { name, written } of repository.parts()) {
    if (needed.has(name) || Date.now() - written < graceMs) continue;
    await repository.deletePart(name);
    parts++;
  }
  return { snapshots: over.length, parts };
}
