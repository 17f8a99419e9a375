import { ObjectError, type Storage } from '../storage/storage.js';
import { type Folder, objectsOf } from './objects.js';

/** The name of an object's second copy: epochs and openers have one, because nothing opens without them. */
export const copyOf = <N extends string>(name: N): `copies/${N}` => `copies/${name}`;

/** Writes an object and its second copy, which has the same bytes. */
export async function writeTwice(storage: Storage, name: string, content: Uint8Array): Promise<void> {
  await storage.write(name, content);
  await storage.write(copyOf(name), content);
}

export async function deleteTwice(storage: Storage, name: string): Promise<void> {
  await storage.delete(name);
  await storage.delete(copyOf(name));
}

/** Names of a folder's objects of which at least one copy is there. */
export async function listTwice(storage: Storage, folder: 'epochs' | 'openers'): Promise<Set<string>> {
  const list = async (below: Folder, cut: number) => {
    const names: string[] = [];
    for await (const { name } of objectsOf(storage, below)) names.push(name.slice(cut));
    return names;
  };
  const both = await Promise.all([list(folder, 0), list(copyOf(folder), copyOf('').length)]);
  return new Set(both.flat());
}

/** An object; `undefined` when it is missing, or the disk has lost it. The caller then reads the other copy. @throws StorageError */
export async function readOne(storage: Storage, name: string, most: number): Promise<Uint8Array | undefined> {
  try {
    return await storage.read(name, most);
  } catch (error) {
    if (error instanceof ObjectError) return undefined;
    throw error;
  }
}
