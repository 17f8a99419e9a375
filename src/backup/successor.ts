import type { Storage } from '../storage/index.js';
import { writeTwice } from './copies.js';
import { randomHex, text, toBase64url } from './encoding.js';
import { Epoch, type V1Keys } from './epoch.js';
import { BackupError } from './errors.js';
import { MOST_OF_OPENER, openersOf, readAllWraps } from './history.js';
import { type OpenerInfo, type Voucher, wrap } from './openers.js';

/** What an epoch begins with. */
export interface Beginning {
  readonly openers: readonly OpenerInfo[];
  readonly voucher: Voucher;
  readonly parents: readonly string[];
  readonly older: readonly Epoch[];
  readonly v1: V1Keys | undefined;
}

/** A backup with several newest epochs. */
export interface Forked {
  readonly heads: readonly Epoch[];
  /** all known epochs, including the heads */
  readonly epochs: readonly Epoch[];
  readonly v1: V1Keys | undefined;
}

/** Wraps an epoch's master key for an opener. */
export async function writeWrap(storage: Storage, epoch: Epoch, info: OpenerInfo, voucher: Voucher) {
  const name = `openers/${epoch.id}-${randomHex(8)}`;
  const content = await wrap(name, epoch, info, voucher);
  if (content.length > MOST_OF_OPENER)
    throw new BackupError('the label of an opener is too long; choose a shorter one');
  await writeTwice(storage, name, content);
}

/**
 * Writes an epoch with a fresh master key, after its wraps. @returns it; the caller must zero its master key
 */
export async function writeEpoch(
  storage: Storage,
  { openers, voucher, parents, older, v1 }: Beginning,
): Promise<Epoch> {
  const number = 1 + Math.max(0, ...older.map((epoch) => epoch.number));
  const epoch = new Epoch(randomHex(16), globalThis.crypto.getRandomValues(new Uint8Array(32)), number);
  const content = {
    number,
    created: new Date().toISOString(),
    parents,
    older: older.map(({ id, number, masterKey }) => ({ epoch: id, number, key: toBase64url(masterKey) })),
    ...(v1 && { v1: { part: toBase64url(v1.part), snapshot: toBase64url(v1.snapshot) } }),
  };
  for (const info of openers) await writeWrap(storage, epoch, info, voucher);
  await storage.flush();
  const name = `epochs/${epoch.id}`;
  await writeTwice(storage, name, await epoch.seal(name, text(JSON.stringify(content))));
  await storage.flush();
  return epoch;
}

/**
 * Joins the epochs of two devices that rotated at once: only openers that both kept stay. @throws BackupError
 * when there is none
 */
export async function join(storage: Storage, { heads, epochs, v1 }: Forked): Promise<void> {
  const wraps = await readAllWraps(storage);
  const [first, ...others] = await Promise.all(heads.map((head) => openersOf(wraps, head)));
  const openers = (first as OpenerInfo[]).filter((info) =>
    others.every((kept) => kept.some(({ id }) => id === info.id)),
  );
  if (openers.length === 0)
    throw new BackupError(
      `${storage.location}: two devices changed its keys at once, and no opener has both`,
    );
  const { masterKey } = await writeEpoch(storage, {
    openers,
    voucher: heads[0] as Epoch,
    parents: heads.map(({ id }) => id),
    older: epochs,
    v1,
  });
  masterKey.fill(0);
}
