import { type Storage, StorageError } from '../storage/storage.js';

/** An object that a prune deletes first, so that it has room for its marks if the storage is full. */
const RESERVE = 'reserve';
const BYTES = 256 * 1024;
/** Most bytes that `crypto.getRandomValues` gives at a time. */
const STEP = 65_536;

/** Keeps room for a prune. It is not an error if there is none. */
export async function keepReserve(storage: Storage): Promise<void> {
  // Random bytes, which no disk can compress.
  const content = new Uint8Array(BYTES);
  for (let at = 0; at < BYTES; at += STEP) globalThis.crypto.getRandomValues(content.subarray(at, at + STEP));
  try {
    await storage.write(RESERVE, content);
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
  }
}

export const useReserve = (storage: Storage): Promise<void> => storage.delete(RESERVE);
