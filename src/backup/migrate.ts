import type { Storage } from '../storage/index.js';
import type { BackupKey } from './openers.js';
import { migrateRepository } from './repository.js';

/**
 * Moves a backup of version 1 to version 2; no part is uploaded again. If it is cut off, run it again.
 * @returns whether it was of version 1
 */
export const migrate = (storage: Storage, backupKey: BackupKey): Promise<boolean> =>
  migrateRepository(storage, backupKey);
