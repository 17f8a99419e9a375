import type { Storage } from '../storage/index.js';
import { copyOf, listTwice, readOne } from './copies.js';
import { BackupError } from './errors.js';
import { idOf, listWraps, MOST_OF_EPOCH } from './history.js';
import type { Keyring } from './keyring.js';
import { isSound } from './openers.js';
import type { Problem } from './source.js';

export interface Keys {
  /** what is wrong with copies of epochs and openers; `path` is empty */
  readonly damaged: readonly Problem[];
  /** copies that were written again from the other one */
  readonly healed: readonly Problem[];
}

/**
 * Looks at both copies of each epoch and opener.
 * @param repair writes a missing or damaged copy again, if the other is sound
 * @throws StorageError
 */
export async function checkKeys(storage: Storage, keyring: Keyring, repair: boolean): Promise<Keys> {
  const damaged: Problem[] = [];
  const healed: Problem[] = [];
  for (const object of [...(await listTwice(storage, 'epochs')), ...(await listWraps(storage))]) {
    const [first, second] = [
      await look(storage, keyring, object, object),
      await look(storage, keyring, object, copyOf(object)),
    ];
    for (const [copy, other] of [
      [first, second],
      [second, first],
    ] as const) {
      if (copy.state === 'sound') continue;
      // Older backups have no second copies.
      const isLess = copy === second && copy.state === 'missing';
      const problem = { path: '', reason: `${copy.name} is ${copy.state}` };
      if (repair && other.state === 'sound') {
        await storage.write(copy.name, other.content as Uint8Array);
        healed.push(problem);
      } else if (other.state !== 'sound' || !isLess) damaged.push(problem);
    }
  }
  if (healed.length > 0) await storage.flush();
  return { damaged, healed };
}

interface Copy {
  readonly name: string;
  readonly content: Uint8Array | undefined;
  readonly state: 'sound' | 'damaged' | 'missing';
}

async function look(storage: Storage, keyring: Keyring, object: string, name: string): Promise<Copy> {
  const content = await readOne(storage, name, MOST_OF_EPOCH);
  const isThere = content !== undefined || (await storage.size(name)) !== undefined;
  const whole = content !== undefined && (await isWhole(keyring, object, content));
  return { name, content, state: whole ? 'sound' : isThere ? 'damaged' : 'missing' };
}

/**
 * Whether an object is sound. An epoch that this opener does not open cannot be checked, and counts as sound.
 */
async function isWhole(keyring: Keyring, name: string, content: Uint8Array): Promise<boolean> {
  const isEpoch = name.startsWith('epochs/');
  const epoch = keyring.epochOf(isEpoch ? name.slice('epochs/'.length) : idOf({ name }));
  if (!epoch) return true;
  if (!isEpoch) return isSound(name, content, epoch);
  try {
    await epoch.open(name, content);
    return true;
  } catch (error) {
    if (error instanceof BackupError) return false;
    throw error;
  }
}
