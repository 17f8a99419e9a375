import type { Storage } from '../storage/index.js';
import { Before } from './before.js';
import type { Cipher } from './cipher.js';
import { BackupError } from './errors.js';
import type { Origin, Snapshot } from './format.js';
import type { BackupKey } from './openers.js';
import { Pass, type Stored } from './pass.js';
import { Repository } from './repository.js';
import { Run } from './run.js';
import { checkSeen, type SeenEpoch } from './seen.js';
import { type Identity, identityOf, newestSnapshot } from './snapshots.js';
import type { Problem, SourceEntry } from './source.js';

/** Called as bytes are done; `total` is known from the start. */
export type Progress = (done: number, total: number) => void;

export interface BackupSummary extends Identity {
  readonly snapshot: string;
  readonly files: number;
  /** those of all files together */
  readonly bytes: number;
  /** files that were read, because they are new or have changed */
  readonly changed: number;
  /** what could not be read, or changed each time that it was read */
  readonly leftOut: readonly Problem[];
}

export interface BackupOptions extends Origin {
  readonly progress?: Progress;
  readonly cipher?: Cipher;
  /** reads every file, even if its size and times are unchanged */
  readonly force?: boolean;
  /** accepts a source without files: it is meant to be empty, and not a disk that is missing */
  readonly allowEmpty?: boolean;
  /** nothing is written if the storage hides the epoch that was seen */
  readonly seenEpoch?: SeenEpoch;
}

/** How often other devices may interfere before a run gives up. */
const ROUNDS = 5;

/**
 * Encrypts entries into a backup, in constant memory. Files whose size and times are the same as in the
 * newest snapshot are not read. Parts that are there already are not written. A run that is cut off leaves no
 * snapshot, and the next run uses its parts. @param source gives the entries; it is called again if a part
 * that they rely on was deleted meanwhile
 * @param total bytes of all files together, for `progress`
 * @throws BackupError, StorageError
 */
export async function backupEntries(
  source: () => AsyncIterable<SourceEntry> | Iterable<SourceEntry>,
  total: number,
  storage: Storage,
  backupKey: BackupKey,
  {
    progress = () => undefined,
    cipher,
    force = false,
    allowEmpty = false,
    seenEpoch = () => undefined,
    ...origin
  }: BackupOptions = {},
): Promise<BackupSummary> {
  const opened = await Repository.openOrCreate(storage, backupKey, cipher);
  checkSeen(opened.keyring, seenEpoch);
  const last = await newestSnapshot(opened, origin);
  const run = await Run.begin(opened);
  let known: Pick<Snapshot, 'list' | 'version'> | undefined = force ? undefined : last;
  for (let round = 0; round < ROUNDS; round++) {
    run.again();
    const pass = new Pass(run, await Before.open(run.repository, run, known), total, progress);
    const stored = await pass.store(source());
    if (!allowEmpty) checkNotEmpty(stored, last);
    await run.claim();
    if (await run.isSound()) {
      const { files, bytes, leftOut, changed } = stored;
      const summary = { ...origin, files, bytes, leftOut: leftOut.length };
      const snapshot = await run.publish(summary, stored.lists);
      if (snapshot !== undefined) {
        await run.end();
        return { snapshot, files, bytes, changed, leftOut, ...identityOf(run.repository) };
      }
    }
    known = { version: 2, list: stored.lists };
  }
  throw new BackupError('other devices keep pruning this backup; try again later');
}

function checkNotEmpty({ files, entries }: Stored, last: Snapshot | undefined): void {
  if (entries === 0 || (files === 0 && (last?.files ?? 0) > 0))
    throw new BackupError(
      'there is no file to back up; is the disk not mounted? If the folder is meant to be empty, use --allow-empty',
    );
}
