import { openStorage, type Storage } from '../storage/index.js';

/** Opens a storage, uses it, and closes it. @throws StorageError */
export async function withStorage(location: string, use: (storage: Storage) => Promise<void>): Promise<void> {
  const storage = await openStorage(location);
  try {
    await use(storage);
  } finally {
    await storage.close();
  }
}
