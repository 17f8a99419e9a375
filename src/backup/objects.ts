import { type Storage, StorageError, type Stored } from '../storage/storage.js';
import { MOST_PARTS } from './names.js';

/**
 * Most objects in each folder of a backup, and in a storage where one begins: more than any comes to have. A
 * storage that lists more may never end.
 */
const MOST = {
  '': 100_000,
  parts: MOST_PARTS,
  snapshots: 1_000_000,
  claims: 100_000,
  marks: 100_000,
  // One that names all older ones is as long as an epoch may be.
  epochs: 10_000,
  openers: 10_000,
  'copies/epochs': 10_000,
  'copies/openers': 10_000,
} as const;

export type Folder = keyof typeof MOST;

/** The objects of a folder. @throws StorageError, also when there are more than a backup can have */
export async function* objectsOf(storage: Storage, folder: Folder): AsyncGenerator<Stored> {
  let count = 0;
  for await (const stored of storage.list(folder)) {
    if (++count > MOST[folder])
      throw new StorageError(
        `${storage.location} lists more than ${MOST[folder]} objects${folder && ` in ${folder}`}, which no backup has`,
      );
    yield stored;
  }
}
