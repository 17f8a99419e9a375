import type { Storage } from '../storage/index.js';
import type { Epoch } from './epoch.js';
import { BackupError } from './errors.js';
import { listEpochs, openersOf, readAllWraps } from './history.js';
import { Interfered, type Keyring, openKeyring, ROUNDS } from './keyring.js';
import { type BackupKey, describe, type Opener, type OpenerInfo, openerOf } from './openers.js';
import { checkSeen, type SeenEpoch } from './seen.js';
import { join, writeEpoch, writeWrap } from './successor.js';

export interface ChangeOptions {
  /** nothing is written if the storage hides the epoch that was seen */
  readonly seenEpoch?: SeenEpoch;
}

/** @throws BackupError when there is no epoch, or nothing may be written */
async function openToChange(
  storage: Storage,
  opener: Opener,
  { seenEpoch = () => undefined }: ChangeOptions,
): Promise<{ keyring: Keyring; head: Epoch }> {
  for (let round = 0; round < ROUNDS; round++) {
    const keyring = await openKeyring(storage, opener);
    if (!keyring) throw new BackupError('a backup of version 1 has no openers; run bkv migrate first');
    checkSeen(keyring, seenEpoch);
    const head = keyring.headToWrite;
    if (keyring.heads.length === 1) return { keyring, head };
    // Two devices may have begun this backup at once. From now on it has one history.
    await join(storage, keyring);
  }
  throw new Interfered();
}

/** The openers of the newest epoch, the oldest first. @throws BackupError, StorageError */
export async function listOpeners(storage: Storage, key: BackupKey): Promise<OpenerInfo[]> {
  const [head] = (await openKeyring(storage, openerOf(key)))?.heads ?? [];
  return head ? oldestFirst(await openersOf(await readAllWraps(storage), head)) : [];
}

/**
 * An opener's id, the same for everybody who has the backup: 16 hexadecimal digits. @param opener its secret
 * has 32 bytes
 */
export const openerId = async (opener: BackupKey): Promise<string> => (await describe(openerOf(opener))).id;

/** The kinds of openers that a backup has. Whoever sees the storage sees them. */
export async function openerKinds(storage: Storage): Promise<Set<string>> {
  return new Set((await readAllWraps(storage)).map(({ kind }) => kind));
}

/**
 * Adds an opener, which then opens everything in the backup. Nothing is uploaded again. If this is cut off,
 * the opener is either added or not. @param key what opens the backup now @returns the openers afterwards
 * @throws BackupError, StorageError
 */
export async function addOpener(
  storage: Storage,
  key: BackupKey,
  added: Opener,
  options: ChangeOptions = {},
): Promise<OpenerInfo[]> {
  const info = await describe(added);
  for (let round = 0; round < ROUNDS; round++) {
    const { keyring, head } = await openToChange(storage, openerOf(key), options);
    const there = await openersOf(await readAllWraps(storage), head);
    if (!there.some(({ id }) => id === info.id)) {
      await writeWrap(storage, head, info, added);
      await storage.flush();
      there.push(info);
    }
    // A device that rotates meanwhile writes its epoch and then looks for wraps. One of the two sees the other.
    if (await isNewest(storage, keyring)) return oldestFirst(there);
  }
  throw new Interfered();
}

/**
 * Removes an opener by beginning a new epoch for those that stay. The removed opener cannot open what is
 * backed up later, but still opens what was there before. If this is cut off, the opener is either removed or
 * not. @param key what opens the backup now; it may be the opener that is removed @param id one of {@link
 * listOpeners} @returns the openers afterwards
 * @throws BackupError when there is no such opener, or it is the last; StorageError
 */
export async function removeOpener(
  storage: Storage,
  key: BackupKey,
  id: string,
  options: ChangeOptions = {},
): Promise<OpenerInfo[]> {
  const there = await listOpeners(storage, key);
  if (!there.some((info) => info.id === id)) throw new BackupError(`this backup has no opener ${id}`);
  return beginEpoch(storage, openerOf(key), options, (info) => info.id !== id);
}

/** Begins a new epoch for the same openers. Nothing is uploaded again. @throws BackupError, StorageError */
export async function rotate(
  storage: Storage,
  key: BackupKey,
  options: ChangeOptions = {},
): Promise<OpenerInfo[]> {
  return beginEpoch(storage, openerOf(key), options, () => true);
}

async function beginEpoch(
  storage: Storage,
  opener: Opener,
  options: ChangeOptions,
  stays: (info: OpenerInfo) => boolean,
): Promise<OpenerInfo[]> {
  const { keyring, head } = await openToChange(storage, opener, options);
  const { epochs, v1 } = keyring;
  const openers = (await openersOf(await readAllWraps(storage), head)).filter(stays);
  if (openers.length === 0)
    throw new BackupError('the last opener cannot be removed: nobody could open the backup any more');
  const parents = [head.id];
  const epoch = await writeEpoch(storage, { openers, voucher: head, parents, older: epochs, v1 });
  // Whoever adds an opener meanwhile writes its wrap and then looks for epochs.
  const late = (await openersOf(await readAllWraps(storage), head)).filter(
    (info) => stays(info) && !openers.some(({ id }) => id === info.id),
  );
  for (const info of late) await writeWrap(storage, epoch, info, head);
  await storage.flush();
  epoch.masterKey.fill(0);
  return oldestFirst([...openers, ...late]);
}

async function isNewest(storage: Storage, { seen }: Keyring): Promise<boolean> {
  return [...(await listEpochs(storage))].every((id) => seen.has(id));
}

const oldestFirst = (openers: readonly OpenerInfo[]): OpenerInfo[] =>
  [...openers].sort((a, b) => (a.added < b.added ? -1 : 1));
