import { createHash, createHmac } from 'node:crypto';
import { resolve } from 'node:path';
import {
  type BackupKey,
  type Identity,
  identify,
  openerId,
  openerOf,
  type SeenEpoch,
} from '../backup/index.js';
import type { Storage } from '../storage/index.js';
import { readState, writeState } from './state.js';

/** What this device has seen of the backups of one key. */
interface Seen {
  /** name of the newest snapshot, by backup */
  newest: Record<string, string>;
  /** which backup was at which place */
  places: Record<string, string>;
  /** mark of the newest epoch, by backup */
  epochs?: Record<string, string>;
}

type Shown = Identity & { readonly newest?: string };

const isOld = (name: string): boolean => /^\d{8}T/.test(name);
/** Snapshots of version 1 come before all others. */
const isNewer = (a: string, b: string): boolean => (isOld(a) === isOld(b) ? a > b : isOld(b));

function read(name: string): Seen {
  try {
    return JSON.parse(readState(name)?.toString() ?? '') as Seen;
  } catch {
    return { newest: {}, places: {} };
  }
}

const nameOf = (key: BackupKey): string =>
  `seen-${createHmac('sha256', openerOf(key).secret).update('bkv seen').digest('hex').slice(0, 32)}`;

/** What this device has seen of the epochs of a backup. */
export const seenEpoch =
  (key: BackupKey): SeenEpoch =>
  (id) =>
    read(nameOf(key)).epochs?.[id];

/** {@link compareWithSeen} with what the storage shows now. */
export const look = async (storage: Storage, key: BackupKey): Promise<void> =>
  compareWithSeen(storage, key, await identify(storage, key));

/**
 * Warns when the storage shows an older state than this device has seen, or another backup. All files of such
 * a state would verify. What was seen is kept in the user's state folder, under a name that only whoever has
 * the backup key can compute.
 */
export async function compareWithSeen(
  { location, folder }: Storage,
  key: BackupKey,
  { id, epochs, newest = '' }: Shown,
  acceptOlderKeys = false,
): Promise<void> {
  const name = nameOf(key);
  const seen = read(name);
  const place = createHash('sha256')
    .update(folder === undefined ? location : resolve(folder))
    .digest('hex');
  const before = seen.newest[id] ?? '';
  if (before !== '' && (newest === '' || isNewer(before, newest)))
    warn(
      `this device has seen snapshot ${before}, and the newest there is ${newest || 'none'}. The storage shows an old state: somebody may have put an old copy back`,
    );
  const other = seen.places[place];
  if (other !== undefined && other !== id && seen.newest[other] !== undefined)
    warn(
      `another backup was here, with snapshot ${seen.newest[other]}. The storage shows a different one now`,
    );
  const known = seen.epochs?.[id];
  const hidden = known !== undefined && !epochs.includes(known) && !acceptOlderKeys;
  if (hidden)
    warn(
      'this device has seen newer keys of this backup. The storage shows an old state: somebody may have put an old copy back',
    );
  else if (epochs[0] !== undefined) seen.epochs = { ...seen.epochs, [id]: epochs[0] };
  seen.places[place] = id;
  if (newest !== '' && (before === '' || isNewer(newest, before))) seen.newest[id] = newest;
  writeState(name, Buffer.from(`${JSON.stringify(seen)}\n`));
  await noteUse(key);
}

const USED = 'openers';

/** When each opener was used last on this device, by its id. */
export function lastUsed(): Record<string, string> {
  try {
    return JSON.parse(readState(USED)?.toString() ?? '') as Record<string, string>;
  } catch {
    return {};
  }
}

async function noteUse(key: BackupKey): Promise<void> {
  const used = { ...lastUsed(), [await openerId(key)]: new Date().toISOString() };
  writeState(USED, Buffer.from(`${JSON.stringify(used)}\n`));
}

const warn = (text: string): void => void process.stderr.write(`warning: ${text}\n`);
