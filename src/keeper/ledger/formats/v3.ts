import { LedgerCorrupt } from '../errors.js';
import type { Word } from '../state.js';
import { decodeCells, encodeCells } from './cells.js';
import { Fields, magicOf, Reader, TAG, VERSION, versionOf } from './frame.js';

/**
 * Version 3. Each object is of one ledger (`ledger`, 16 random bytes) and of the term of the writer that wrote it.
 *
 * Page `bkv.ledger.page.<n>`: "BKVP" ‖ 3 ‖ 3 zero bytes ‖ ledger 16 ‖ term u32 ‖ sequence u64 ‖ page u32 ‖ generation u32 ‖
 * next u32 ‖ first u32 ‖ cells u32 ‖ the cells (see cells.ts) ‖ tag 32. It holds every change of the cells from `first` on
 * up to `sequence`. Its records are under the page key of `generation`, and being moved to that of `next` unless that is 0.
 * A page whose cells do not fit into one object is several.
 *
 * Journal `bkv.ledger.journal`: "BKVJ" ‖ 3 ‖ 3 zero bytes ‖ ledger 16 ‖ term u32 ‖ first u64 ‖ last u64 ‖ folded u64 ‖
 * objects u32 ‖ digest 32 ‖ then for each cell that changed from `first` to `last` cell u32 ‖ its newest value 3 bytes ‖
 * tag 32. What its page held already when the journal was written is left out. Everything up to `folded` is in the pages.
 * `digest` is SHA-256 over the tags of the `objects` page objects that count, in the order of their cells.
 *
 * Mark (outside the token): "BKVM" ‖ 3 ‖ 3 zero bytes ‖ ledger 16 ‖ term u32 ‖ sequence u64 ‖ tag 32.
 */
export interface PageObject {
  readonly ledger: Uint8Array;
  readonly term: number;
  readonly sequence: bigint;
  readonly page: number;
  readonly generation: number;
  readonly next: number;
  readonly first: number;
  readonly words: Uint32Array;
}

export interface Journal {
  readonly ledger: Uint8Array;
  /** grows with every take-over of the ledger */
  readonly term: number;
  readonly first: bigint;
  readonly last: bigint;
  readonly folded: bigint;
  readonly objects: number;
  readonly digest: Uint8Array;
  readonly changes: ReadonlyMap<number, Word>;
}

export interface Mark {
  readonly ledger: Uint8Array;
  readonly term: number;
  readonly sequence: bigint;
}

const PAGE_HEADER = 56;
const JOURNAL_FRAME = 88 + TAG;
const CHANGE = 7;

/** Most cells that one journal object can change. */
export const changesOf = (objectBytes: number): number => Math.floor((objectBytes - JOURNAL_FRAME) / CHANGE);

/** An object of a page, without its tag, and the cells that it holds. */
export interface Part {
  readonly first: number;
  readonly cells: number;
  readonly body: Uint8Array;
}

/**
 * Cells of a page as one object, which has at most `objectBytes` with its tag. If they do not fit, they are
 * halved into two objects, and so on.
 */
export function encodePage(page: PageObject, objectBytes: number): Part[] {
  const { first, words } = page;
  const body = encodeObject(page, objectBytes);
  if (body) return [{ first, cells: words.length, body }];
  if (words.length === 1) throw new RangeError(`no cell fits into an object of ${objectBytes} bytes`);
  const half = words.length >> 1;
  return [
    ...encodePage({ ...page, words: words.subarray(0, half) }, objectBytes),
    ...encodePage({ ...page, first: first + half, words: words.subarray(half) }, objectBytes),
  ];
}

function encodeObject(page: PageObject, objectBytes: number): Uint8Array | undefined {
  const fields = new Fields('BKVP')
    .bytes(page.ledger)
    .u32(page.term)
    .u64(page.sequence)
    .u32(page.page)
    .u32(page.generation)
    .u32(page.next)
    .u32(page.first)
    .u32(page.words.length);
  return encodeCells(page.words, fields, objectBytes - PAGE_HEADER - TAG) ? fields.done() : undefined;
}

/** A larger number could only be meant to exhaust the memory. */
const MOST_CELLS = 2 ** 20;

export function decodePage(value: Uint8Array): PageObject {
  const reader = open('a page', 'BKVP', value);
  const [ledger, term, sequence] = [reader.bytes(16), reader.u32(), reader.u64()];
  const [page, generation, next, first, cells] = [
    reader.u32(),
    reader.u32(),
    reader.u32(),
    reader.u32(),
    reader.u32(),
  ];
  if (cells > MOST_CELLS) throw new LedgerCorrupt(`a page of the ledger has ${cells} cells`);
  return { ledger, term, sequence, page, generation, next, first, words: decodeCells(reader, cells) };
}

export function encodeJournal(journal: Journal): Uint8Array {
  const fields = new Fields('BKVJ')
    .bytes(journal.ledger)
    .u32(journal.term)
    .u64(journal.first)
    .u64(journal.last)
    .u64(journal.folded)
    .u32(journal.objects)
    .bytes(journal.digest);
  const changes = Buffer.alloc(journal.changes.size * CHANGE);
  let at = 0;
  for (const [cell, word] of journal.changes) {
    changes.writeUInt32BE(cell, at);
    changes.writeUIntBE(word, at + 4, 3);
    at += CHANGE;
  }
  return fields.bytes(changes).done();
}

export function decodeJournal(value: Uint8Array): Journal {
  const reader = open('a journal object', 'BKVJ', value);
  const head = {
    ledger: reader.bytes(16),
    term: reader.u32(),
    first: reader.u64(),
    last: reader.u64(),
    folded: reader.u64(),
    objects: reader.u32(),
    digest: reader.bytes(32),
  };
  const changes = new Map<number, Word>();
  while (reader.left > 0) changes.set(reader.u32(), reader.u24());
  return { ...head, changes };
}

export const encodeMark = ({ ledger, term, sequence }: Mark): Uint8Array =>
  new Fields('BKVM').bytes(ledger).u32(term).u64(sequence).done();

export function decodeMark(value: Uint8Array): Mark {
  const reader = open('a mark', 'BKVM', value);
  return { ledger: reader.bytes(16), term: reader.u32(), sequence: reader.u64() };
}

function open(name: string, magic: string, value: Uint8Array): Reader {
  if (magicOf(value) !== magic || versionOf(value) !== VERSION)
    throw new LedgerCorrupt(`${name} of the ledger is not a ${magic} of version ${VERSION}`);
  return new Reader(name, value.subarray(0, value.length - TAG), 8);
}
