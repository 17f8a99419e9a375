import { bytesToHex } from '@noble/hashes/utils.js';
import type { Storage } from '../storage/index.js';
import { copyOf, deleteTwice, listTwice, readOne, writeTwice } from './copies.js';
import { fromBase64, parseObject, randomHex, text, toBase64 } from './encoding.js';
import { Epoch, epochOf, type PartKeys, V1, V1Keys } from './epoch.js';
import { BackupError } from './errors.js';
import {
  describe,
  type Opener,
  type OpenerInfo,
  openAbout,
  parseWrap,
  unwrap,
  type Voucher,
  type Wrap,
  wrap,
} from './openers.js';

const EPOCH = /^epochs\/([0-9a-f]{32})$/;
const OPENER = /^openers\/([0-9a-f]{32})-[0-9a-f]{16}$/;
/** More than a wrap or an epoch has, bytes: a reader takes no more. */
export const MOST_OF_KEYS = 1024 * 1024;

interface History {
  readonly epoch: Epoch;
  readonly parents: readonly string[];
  /** vouched for by the opener's own secret */
  readonly self: boolean;
}

/** The epochs of a backup that an opener opens (docs/formats/backup.md, "Keys"). */
export class Keyring {
  readonly #epochs = new Map<string, Epoch>();
  #v1: V1Keys | undefined;

  constructor(
    /** under which new things are written; none in version 1 */
    readonly head: Epoch | undefined,
    /** all that the storage has, also those that this opener does not open */
    readonly seen: ReadonlySet<string>,
    epochs: Iterable<Epoch>,
    v1: V1Keys | undefined,
  ) {
    for (const epoch of epochs) this.#epochs.set(epoch.id, epoch);
    this.#v1 = v1;
  }

  /** Of a backup of version 1. */
  static ofV1(keys: V1Keys): Keyring {
    return new Keyring(undefined, new Set(), [], keys);
  }

  /** Newest first. */
  get epochs(): Epoch[] {
    return [...this.#epochs.values()].sort((a, b) => b.number - a.number || (a.id < b.id ? 1 : -1));
  }

  /** @param id 32 digits @returns `undefined` when it is not opened */
  epochOf(id: string): Epoch | undefined {
    return this.#epochs.get(id);
  }

  get v1(): V1Keys | undefined {
    return this.#v1;
  }

  /** Whether each epoch of the storage is opened: what is not known may need any part. */
  get complete(): boolean {
    return [...this.seen].every((id) => this.#epochs.has(id));
  }

  /** @throws BackupError */
  partKeys(epoch: string): PartKeys {
    const keys = epoch === V1 ? this.#v1 : this.#epochs.get(epoch);
    if (!keys) throw new BackupError('it is under a key that this one does not open');
    return keys;
  }

  /** Opens an object of this version. @throws BackupError @returns it, and the epoch that sealed it */
  async open(name: string, sealed: Uint8Array): Promise<{ epoch: Epoch; plaintext: Uint8Array }> {
    const id = epochOf(sealed);
    const epoch = id === undefined ? undefined : this.#epochs.get(id);
    if (id !== undefined && !epoch && this.seen.has(id))
      throw new UnknownEpoch(
        `${name} is under a key that this one does not open; see bkv snapshots for others`,
      );
    if (!epoch) throw new BackupError(`${name} is damaged, or of another key`);
    return { epoch, plaintext: await epoch.open(name, sealed) };
  }
}

/** It is sealed by an epoch that is there, and that this opener does not open. */
export class UnknownEpoch extends BackupError {}

/** Names of all epochs that are there. */
export async function listEpochs(storage: Storage): Promise<Set<string>> {
  const ids = new Set<string>();
  for (const name of await listTwice(storage, 'epochs')) {
    const [, id] = EPOCH.exec(name) ?? [];
    if (id) ids.add(id);
  }
  return ids;
}

/** Names of all openers that are there. */
export const listOpeners = async (storage: Storage): Promise<string[]> =>
  [...(await listTwice(storage, 'openers'))].filter((name) => OPENER.test(name));

/**
 * Opens what an opener opens. Where two devices rotated at once it writes the epoch that joins them.
 * @returns `undefined` when there is no epoch yet
 * @throws BackupError when the opener opens none; StorageError
 */
export async function openKeyring(storage: Storage, opener: Opener): Promise<Keyring | undefined> {
  // In this order: an epoch is written after its openers.
  const seen = await listEpochs(storage);
  const names = await listOpeners(storage);
  const wraps = await readWraps(storage, names);
  let unwrapped = await unwrapAll(storage, wraps, opener);
  const isOpen = (id: string) => unwrapped.histories.some(({ epoch }) => epoch.id === id);
  if (![...seen].every(isOpen)) {
    // What does not open may be damaged: then its second copy does.
    wraps.push(...(await readWraps(storage, names.filter((name) => !isOpen(idOf({ name }))).map(copyOf))));
    unwrapped = await unwrapAll(storage, wraps, opener);
  }
  const { histories, v1, older } = unwrapped;
  if (histories.length === 0) {
    // An opener without its epoch was cut off.
    if (!wraps.some((wrap) => seen.has(idOf(wrap)))) return undefined;
    throw new BackupError(`${storage.location} is damaged, or of another key`);
  }
  const heads = headsOf(histories);
  const first = heads[0] as History;
  if (heads.length === 1 || heads.every(({ self, parents }) => self && parents.length === 0))
    return new Keyring(first.epoch, seen, [...older, ...histories.map(({ epoch }) => epoch)], v1);
  await join(storage, heads, await readAllWraps(storage), opener);
  return openKeyring(storage, opener);
}

/** Those that are nobody's parent, by name. */
function headsOf(histories: readonly History[]): History[] {
  const parents = new Set(histories.flatMap((history) => history.parents));
  return histories
    .filter(({ epoch }) => !parents.has(epoch.id))
    .sort((a, b) => (a.epoch.id < b.epoch.id ? -1 : 1));
}

/** @param names of openers, or of second copies */
async function readWraps(storage: Storage, names: readonly string[]): Promise<Wrap[]> {
  const wraps = await Promise.all(
    names.map(async (name) => {
      const content = await readOne(storage, name, MOST_OF_KEYS);
      try {
        return content && parseWrap(name.replace(/^copies\//, ''), content);
      } catch {
        return undefined;
      }
    }),
  );
  return wraps.filter((wrap) => wrap !== undefined);
}

/** Both copies of each: an opener must not get lost because one is damaged. */
async function readAllWraps(storage: Storage): Promise<Wrap[]> {
  const names = await listOpeners(storage);
  return readWraps(storage, [...names, ...names.map(copyOf)]);
}

/** The epoch of an opener. */
export const idOf = ({ name }: Pick<Wrap, 'name'>): string =>
  (OPENER.exec(name) as RegExpExecArray)[1] as string;

async function unwrapAll(storage: Storage, wraps: readonly Wrap[], opener: Opener) {
  const histories = new Map<string, History>();
  const older = new Map<string, Epoch>();
  let v1: V1Keys | undefined;
  const known = (id: string): Epoch | undefined => histories.get(id)?.epoch ?? older.get(id);
  const left = new Set(wraps.filter(({ kind }) => kind === opener.kind));
  // A wrap that an older epoch vouches for opens after that one.
  for (let progress = true; progress; ) {
    progress = false;
    for (const wrap of left) {
      const id = idOf(wrap);
      const voucher: Voucher | undefined = wrap.by === 'self' ? opener : known(wrap.by);
      if (!voucher) continue;
      left.delete(wrap);
      const masterKey = histories.has(id) ? undefined : await unwrap(wrap, opener, voucher);
      const read = masterKey && (await readEpoch(storage, id, masterKey));
      if (!read || read.older.some(({ id, number }) => known(id) && known(id)?.number !== number)) continue;
      histories.set(id, { ...read, self: wrap.by === 'self' });
      for (const epoch of read.older) older.set(epoch.id, epoch);
      v1 ??= read.v1;
      progress = true;
    }
  }
  return { histories: [...histories.values()], older: [...older.values()], v1 };
}

/** @returns `undefined` when the epoch was not written whole, or both copies are damaged */
async function readEpoch(storage: Storage, id: string, masterKey: Uint8Array) {
  const name = `epochs/${id}`;
  for (const copy of [name, copyOf(name)]) {
    const sealed = await readOne(storage, copy, MOST_OF_KEYS);
    try {
      if (sealed) return await openEpoch(name, id, masterKey, sealed);
    } catch (error) {
      if (!(error instanceof BackupError)) throw error;
    }
  }
  return undefined;
}

/** @throws BackupError */
async function openEpoch(name: string, id: string, masterKey: Uint8Array, sealed: Uint8Array) {
  const plaintext = await new Epoch(id, masterKey, 0).open(name, sealed);
  const { number, parents, older, v1 } = parseObject(plaintext, name) as {
    number: number;
    parents: string[];
    older: { epoch: string; number: number; key: string }[];
    v1?: { part: string; snapshot: string };
  };
  const before = older.filter(({ epoch }) => parents.includes(epoch)).map((parent) => parent.number);
  if (number !== 1 + Math.max(0, ...before)) throw new BackupError(`${name} has another number than it may`);
  return {
    epoch: new Epoch(id, masterKey, number),
    parents,
    older: older.map(({ epoch, number, key }) => new Epoch(epoch, fromBase64(key, 32), number)),
    v1: v1 && new V1Keys(fromBase64(v1.part, 32), fromBase64(v1.snapshot, 32)),
  };
}

/** Writes an epoch with a fresh master key, and wraps it. @returns its id */
async function write(
  storage: Storage,
  openers: readonly OpenerInfo[],
  voucher: Voucher,
  parents: readonly string[],
  older: readonly Epoch[],
  v1?: V1Keys,
): Promise<string> {
  const number = 1 + Math.max(0, ...older.map((epoch) => epoch.number));
  const epoch = new Epoch(randomHex(16), globalThis.crypto.getRandomValues(new Uint8Array(32)), number);
  const content = {
    number,
    created: new Date().toISOString(),
    parents,
    older: older.map(({ id, number, masterKey }) => ({ epoch: id, number, key: toBase64(masterKey) })),
    ...(v1 && { v1: { part: toBase64(v1.part), snapshot: toBase64(v1.snapshot) } }),
  };
  for (const info of openers) {
    const name = `openers/${epoch.id}-${randomHex(8)}`;
    await writeTwice(storage, name, await wrap(name, epoch, info, voucher));
  }
  await storage.flush();
  const name = `epochs/${epoch.id}`;
  await writeTwice(storage, name, await epoch.seal(name, text(JSON.stringify(content))));
  await storage.flush();
  epoch.masterKey.fill(0);
  return epoch.id;
}

/** Begins a backup with an epoch of its own, or moves one of version 1 there. @param v1 the keys of version 1 */
export async function beginKeyring(storage: Storage, opener: Opener, v1?: V1Keys): Promise<void> {
  const before = await listEpochs(storage);
  const id = await write(storage, [await describe(opener, '')], opener, [], [], v1);
  const keyring = await openKeyring(storage, opener);
  if (
    keyring?.complete ||
    [...(await listEpochs(storage))].every((other) => before.has(other) || other === id)
  )
    return;
  // Another key began here at the same time: neither may stay alone, and neither is destroyed by the other.
  for (const name of await listOpeners(storage)) if (idOf({ name }) === id) await deleteTwice(storage, name);
  await deleteTwice(storage, `epochs/${id}`);
  throw new BackupError(`another key began a backup in ${storage.location} at the same time; try again`);
}

/**
 * Begins a new epoch, for the openers that stay. What is stored already stays as it is.
 * @param stays whether an opener gets the new key
 * @throws BackupError when none would stay
 */
export async function rotate(
  storage: Storage,
  opener: Opener,
  stays: (info: OpenerInfo) => boolean = () => true,
): Promise<void> {
  const keyring = await openKeyring(storage, opener);
  if (!keyring?.head) throw new BackupError('a backup of version 1 has no epochs; run bkv migrate first');
  const openers = (await openersOf(await readAllWraps(storage), keyring.head)).filter(stays);
  if (openers.length === 0) throw new BackupError('the last opener cannot be removed');
  await write(storage, openers, keyring.head, [keyring.head.id], keyring.epochs, keyring.v1);
}

/** The openers of an epoch, each once. */
async function openersOf(wraps: readonly Wrap[], epoch: Epoch): Promise<OpenerInfo[]> {
  const found = new Map<string, OpenerInfo>();
  for (const wrap of wraps) {
    if (idOf(wrap) !== epoch.id) continue;
    const info = await openAbout(wrap, epoch).catch(() => undefined);
    if (info) found.set(bytesToHex(info.publicKey), info);
  }
  return [...found.values()];
}

/** Two devices rotated at once: only an opener that both kept goes on. */
async function join(storage: Storage, heads: readonly History[], wraps: readonly Wrap[], opener: Opener) {
  const of = await Promise.all(heads.map(({ epoch }) => openersOf(wraps, epoch)));
  const key = ({ publicKey }: OpenerInfo) => bytesToHex(publicKey);
  const openers = (of[0] as OpenerInfo[]).filter((info) =>
    of.every((others) => others.some((other) => key(other) === key(info))),
  );
  if (openers.length === 0)
    throw new BackupError(
      `${storage.location}: two devices changed its keys at once, and no opener has both`,
    );
  const { histories, older, v1 } = await unwrapAll(storage, wraps, opener);
  const epochs = new Map(
    [...older, ...histories.map(({ epoch }) => epoch)].map((epoch) => [epoch.id, epoch]),
  );
  const parents = heads.map(({ epoch }) => epoch.id);
  await write(storage, openers, (heads[0] as History).epoch, parents, [...epochs.values()], v1);
}
