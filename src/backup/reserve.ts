import { type Storage, StorageError } from '../storage/storage.js';

/** An object that a prune deletes first, so that it has room for its marks where the storage is full. */
const RESERVE = 'reserve';
const BYTES = 256 * 1024;
/** What crypto gives at a time. */
const STEP = 65_536;

/** Keeps room for a prune. Where there is none, that is not an error. */
export async function keepReserve(storage: Storage): Promise<void> {
  // Nothing that a disk could store in less room.
  const content = new Uint8Array(BYTES);
  for (let at = 0; at < BYTES; at += STEP) globalThis.crypto.getRandomValues(content.subarray(at, at + STEP));
  try {
    await storage.write(RESERVE, content);
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
  }
}

export const useReserve = (storage: Storage): Promise<void> => storage.delete(RESERVE);
