import type { Storage } from '../storage/index.js';
import { migrateRepository, openerOf } from './repository.js';

/**
 * Moves a backup of version 1 to version 2; no part is uploaded again. Cut off, it is run again.
 * @param backupKey 32 bytes
 * @returns whether it was of version 1
 */
export const migrate = (storage: Storage, backupKey: Uint8Array): Promise<boolean> =>
  migrateRepository(storage, openerOf(backupKey));
