import { type BackupKey, identify, openerId, type SeenEpoch } from '../backup/index.js';
import type { Storage } from '../storage/storage.js';

/** What this device keeps about backups. Nothing of it opens one. */
interface Remembered {
  /** mark of the newest epoch, by backup */
  readonly epochs: Record<string, string>;
  /** when each opener was used last, by its id */
  readonly used: Record<string, string>;
}

const NAME = 'bkv';

function read(): Remembered {
  try {
    return { epochs: {}, used: {}, ...JSON.parse(localStorage.getItem(NAME) ?? '') };
  } catch {
    return { epochs: {}, used: {} };
  }
}

export const seenEpoch: SeenEpoch = (id) => read().epochs[id];

/** When an opener was used last on this device. */
export function lastUsed(id: string): Date | undefined {
  const time = read().used[id];
  return time === undefined ? undefined : new Date(time);
}

/**
 * Remembers that an opener was used, and how new the backup is. Opening an older copy of the backup does not
 * undo that.
 */
export async function remember(storage: Storage, opener: BackupKey): Promise<void> {
  const { id, epochs } = await identify(storage, opener);
  const { epochs: seen, used } = read();
  const before = seen[id];
  const [newest] = epochs;
  if (newest !== undefined && (before === undefined || epochs.includes(before))) seen[id] = newest;
  used[await openerId(opener)] = new Date().toISOString();
  try {
    localStorage.setItem(NAME, JSON.stringify({ epochs: seen, used }));
  } catch {
    // A private window may keep nothing; the backup works without this.
  }
}
