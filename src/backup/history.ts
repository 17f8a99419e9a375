import type { Storage } from '../storage/index.js';
import { copyOf, listTwice, readOne } from './copies.js';
import { fromBase64url, parseObject } from './encoding.js';
import { Epoch, V1Keys } from './epoch.js';
import { BackupError } from './errors.js';
import {
  type Opener,
  type OpenerInfo,
  openAbout,
  parseWrap,
  unwrap,
  type Voucher,
  type Wrap,
} from './openers.js';

const EPOCH = /^epochs\/([0-9a-f]{32})$/;
const OPENER = /^openers\/([0-9a-f]{32})-[0-9a-f]{16}$/;
/** Most bytes that a reader accepts of an epoch, and of an opener: all of these are in the memory together. */
export const MOST_OF_EPOCH = 1024 * 1024;
export const MOST_OF_OPENER = 65_536;

/** An epoch as its object describes it. */
export interface History {
  readonly epoch: Epoch;
  readonly parents: readonly string[];
  /** vouched for by the opener's own secret */
  readonly self: boolean;
}

/** What an opener opens in a storage. */
export interface Opened {
  readonly histories: readonly History[];
  /** epochs that are known from the histories */
  readonly older: readonly Epoch[];
  readonly v1: V1Keys | undefined;
}

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
export const listWraps = async (storage: Storage): Promise<string[]> =>
  [...(await listTwice(storage, 'openers'))].filter((name) => OPENER.test(name));

/** The epochs that are nobody's parent, ordered by name. */
export function headsOf(histories: readonly History[]): History[] {
  const parents = new Set(histories.flatMap((history) => history.parents));
  return histories
    .filter(({ epoch }) => !parents.has(epoch.id))
    .sort((a, b) => (a.epoch.id < b.epoch.id ? -1 : 1));
}

/** @param names those of openers, or of second copies */
export async function readWraps(storage: Storage, names: readonly string[]): Promise<Wrap[]> {
  const wraps: Wrap[] = [];
  for (let at = 0; at < names.length; at += storage.parallel) {
    const some = names.slice(at, at + storage.parallel).map((name) => readWrap(storage, name));
    for (const wrap of await Promise.all(some)) if (wrap) wraps.push(wrap);
  }
  return wraps;
}

async function readWrap(storage: Storage, name: string): Promise<Wrap | undefined> {
  const content = await readOne(storage, name, MOST_OF_OPENER);
  try {
    return content && parseWrap(name.replace(/^copies\//, ''), content);
  } catch {
    return undefined;
  }
}

/** Reads both copies of each opener, so that none is lost because one copy is damaged. */
export async function readAllWraps(storage: Storage): Promise<Wrap[]> {
  const names = await listWraps(storage);
  return readWraps(storage, [...names, ...names.map(copyOf)]);
}

/** The epoch of a wrap. */
export const idOf = ({ name }: Pick<Wrap, 'name'>): string =>
  (OPENER.exec(name) as RegExpExecArray)[1] as string;

/** Opens every epoch that an opener can, newer epochs through older ones. */
export async function unwrapAll(storage: Storage, wraps: readonly Wrap[], opener: Opener): Promise<Opened> {
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

/** @returns `undefined` when the epoch was not written completely, or both copies are damaged */
async function readEpoch(storage: Storage, id: string, masterKey: Uint8Array) {
  const name = `epochs/${id}`;
  for (const copy of [name, copyOf(name)]) {
    const sealed = await readOne(storage, copy, MOST_OF_EPOCH);
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
  if (number !== 1 + Math.max(0, ...before)) throw new BackupError(`${name} has a number out of range`);
  return {
    epoch: new Epoch(id, masterKey, number),
    parents,
    older: older.map(({ epoch, number, key }) => new Epoch(epoch, fromBase64url(key, 32), number)),
    v1: v1 && new V1Keys(fromBase64url(v1.part, 32), fromBase64url(v1.snapshot, 32)),
  };
}

/** The openers of an epoch, each once. */
export async function openersOf(wraps: readonly Wrap[], epoch: Epoch): Promise<OpenerInfo[]> {
  const found = new Map<string, OpenerInfo>();
  for (const wrap of wraps) {
    if (idOf(wrap) !== epoch.id) continue;
    const info = await openAbout(wrap, epoch).catch(() => undefined);
    if (info) found.set(info.id, info);
  }
  return [...found.values()];
}
