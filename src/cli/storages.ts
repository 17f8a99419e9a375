import { openStorage, type Storage } from '../storage/index.js';

/** Opens a storage, and closes it in the end. @throws StorageError */
export async function withStorage(location: string, use: (storage: Storage) => Promise<void>): Promise<void> {
  const storage = await openStorage(location);
  try {
    await use(storage);
  } finally {
    await storage.close();
  }
}
