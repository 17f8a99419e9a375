import type { Storage } from '../storage/index.js';
import type { Progress } from './backup.js';
import type { Cipher } from './cipher.js';
import { BackupError, BadPart } from './errors.js';
import type { Part } from './format.js';
import { checkKeys } from './heal.js';
import { readEntries } from './list.js';
import type { BackupKey } from './openers.js';
import { Repository } from './repository.js';
import type { Damage } from './restore.js';
import { listSnapshots, snapshotPath } from './snapshots.js';
import type { Problem } from './source.js';

/** What {@link verify} found. */
export interface Verdict {
  readonly snapshots: number;
  readonly parts: number;
  readonly damaged: readonly (Damage & { readonly snapshot: string })[];
  /** damaged parts and snapshots that were deleted */
  readonly deleted: number;
  /** copies of epochs and openers that were written again */
  readonly healed: readonly Problem[];
}

export interface VerifyOptions {
  readonly progress?: Progress;
  readonly cipher?: Cipher;
  /**
   * repairs epochs and openers, and deletes other damaged objects, so that the next backup stores them again
   */
  readonly repair?: boolean;
}

/** Reads each part once, several at the same time. */
class Checker {
  readonly #repository: Repository;
  readonly #checked = new Map<string, Promise<string | undefined>>();
  readonly #running = new Set<Promise<unknown>>();
  #outage: Error | undefined;
  readonly broken: string[] = [];

  constructor(
    repository: Repository,
    readonly progress: (done: number) => void,
  ) {
    this.#repository = repository;
  }

  get count(): number {
    return this.#checked.size;
  }

  /**
   * Waits until fewer parts are being read, and begins. @throws StorageError when the storage cannot be
   * reached any more
   */
  async begin(part: Part): Promise<void> {
    if (this.#outage) throw this.#outage;
    if (this.#checked.has(part.name)) return;
    while (this.#running.size >= this.#repository.storage.parallel) await Promise.race(this.#running);
    const check = this.#check(part).finally(() => this.#running.delete(check));
    this.#checked.set(part.name, check);
    this.#running.add(check);
    check.catch(() => undefined);
  }

  /** @returns what is wrong with a part that was begun. @throws StorageError */
  async reasonOf({ name }: Part): Promise<string | undefined> {
    return this.#checked.get(name);
  }

  /** A part that looks damaged is read twice, because the transfer may have failed. */
  async #check(part: Part): Promise<string | undefined> {
    for (let last = false; ; last = true)
      try {
        await this.#repository.getPart(part);
        this.progress(this.#checked.size);
        return undefined;
      } catch (error) {
        if (!(error instanceof BackupError)) {
          this.#outage ??= error as Error;
          throw error;
        }
        if (!last) continue;
        this.broken.push(part.name);
        return error.message;
      }
  }
}

/**
 * Reads every part that a snapshot names once, and reports which files of which snapshots are damaged.
 * @throws BackupError; StorageError when the storage cannot be reached
 */
export async function verify(
  storage: Storage,
  backupKey: BackupKey,
  { progress = () => undefined, cipher, repair = false }: VerifyOptions = {},
): Promise<Verdict> {
  const repository = await Repository.open(storage, backupKey, cipher);
  const { snapshots, damaged: unreadable, locked } = await listSnapshots(repository);
  const lost = (reason: string) => (snapshot: string) => ({
    snapshot,
    path: '',
    reason: `snapshot ${snapshot} ${reason}`,
  });
  const damaged = [
    ...unreadable.map(lost('is damaged, or of another key')),
    ...locked.map(lost('is under a key that this one does not open')),
  ];
  const keys = await checkKeys(storage, repository.keyring, repair);
  damaged.push(...keys.damaged.map((problem) => ({ ...problem, snapshot: '' })));
  let total = 0;
  for await (const _ of repository.parts()) total++;
  const checker = new Checker(repository, (done) => progress(done, Math.max(total, done)));
  for (const { name: snapshot, list, version } of snapshots) {
    for (const { part } of list) await checker.begin(part);
    for (const { part } of list) {
      const reason = await checker.reasonOf(part);
      if (reason) damaged.push({ snapshot, path: '', reason });
    }
    const files: { path: string; parts: Part[] }[] = [];
    const settle = async () => {
      for (const { path, parts } of files.splice(0)) {
        const reasons = await Promise.all(parts.map((part) => checker.reasonOf(part)));
        const reason = reasons.find((each) => each !== undefined);
        if (reason) damaged.push({ snapshot, path, reason });
      }
    };
    const badList = (error: BackupError) => {
      // Damaged parts of the list are reported above.
      if (!(error instanceof BadPart)) damaged.push({ snapshot, path: '', reason: error.message });
    };
    for await (const entry of readEntries(repository, { list, version }, badList)) {
      if (entry.type !== 'file') continue;
      const parts = entry.content.flatMap(({ part }) => part ?? []);
      for (const part of parts) await checker.begin(part);
      files.push({ path: entry.path, parts });
      if (files.length >= 1000) await settle();
    }
    await settle();
  }
  if (repair) {
    for (const part of checker.broken) await repository.deletePart(part);
    for (const snapshot of unreadable) await storage.delete(snapshotPath(snapshot));
  }
  const deleted = repair ? checker.broken.length + unreadable.length : 0;
  return {
    snapshots: snapshots.length,
    parts: checker.count,
    damaged,
    deleted,
    healed: keys.healed,
  };
}
