import { LedgerCorrupt } from '../errors.js';
import { fromWord, type Word } from '../state.js';
import type { Fields, Reader } from './frame.js';

/**
 * Packs many cells into few bytes. Most cells of a vault have the same value, so the values that occur are listed once, the most frequent
 * first: count u8 (0 for 256) ‖ 3 bytes each. Then a byte that says how the cells follow, whichever is the shortest:
 *
 * 0: those that are not the first value, in order: gap u8 (cells passed over; 255 passes over 255 and says nothing) ‖
 *    number of the value u8; 0x80 added to it says that a repeat u16 follows: that many more cells of the same value.
 * 1, 2, 4, 8: bits a cell, each the number of its value, the first cell in the highest bits.
 */
export function encodeCells(words: Uint32Array, fields: Fields, limit = Number.POSITIVE_INFINITY): boolean {
  const counts = count(words);
  const values = [...counts.keys()].sort((a, b) => (counts.get(b) as number) - (counts.get(a) as number));
  if (values.length > 256) return false;
  const numbers = new Map(values.map((word, number) => [word, number]));
  const bits = ([1, 2, 4, 8] as const).find((width) => values.length <= 2 ** width) as number;
  const dense = Math.ceil((words.length * bits) / 8);
  const room = limit - 2 - values.length * 3;
  const sparse = values.length <= 128 ? encodeSparse(words, numbers, Math.min(dense, room)) : undefined;
  if (!sparse && dense > room) return false;
  fields.u8(values.length & 0xff);
  for (const word of values) fields.u24(word);
  if (sparse) fields.u8(0).bytes(sparse);
  else fields.u8(bits).bytes(encodeDense(words, numbers, bits));
  return true;
}

/** How often each value occurs. Neighbours are mostly alike, so a run is counted at once. */
function count(words: Uint32Array): Map<Word, number> {
  const counts = new Map<Word, number>();
  for (let i = 0; i < words.length; ) {
    const word = words[i] as Word;
    const from = i;
    while (words[i] === word) i++;
    counts.set(word, (counts.get(word) ?? 0) + i - from);
  }
  return counts;
}

const REPEAT = 0x80;
const MAX_GAP = 255;
const MAX_REPEAT = 0xffff;

/** @returns undefined when it needs more than `room` bytes */
function encodeSparse(
  words: Uint32Array,
  numbers: ReadonlyMap<Word, number>,
  room: number,
): Uint8Array | undefined {
  const out: number[] = [];
  const [first] = numbers.keys();
  let gap = 0;
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as Word;
    if (word === first) {
      gap++;
      continue;
    }
    const number = numbers.get(word) as number;
    for (; gap >= MAX_GAP; gap -= MAX_GAP) out.push(MAX_GAP);
    let repeat = 0;
    while (repeat < MAX_REPEAT && words[i + 1] === word) {
      repeat++;
      i++;
    }
    if (repeat > 0) out.push(gap, number | REPEAT, repeat >> 8, repeat & 0xff);
    else out.push(gap, number);
    gap = 0;
    if (out.length > room) return undefined;
  }
  return Uint8Array.from(out);
}

function encodeDense(words: Uint32Array, numbers: ReadonlyMap<Word, number>, bits: number): Uint8Array {
  const out = new Uint8Array(Math.ceil((words.length * bits) / 8));
  for (let i = 0; i < words.length; i++) {
    const at = i * bits;
    const number = numbers.get(words[i] as Word) as number;
    out[at >> 3] = (out[at >> 3] as number) | (number << (8 - bits - (at & 7)));
  }
  return out;
}

/** @param count how many cells there are @throws LedgerCorrupt */
export function decodeCells(reader: Reader, count: number): Uint32Array {
  const values = Array.from({ length: reader.u8() || 256 }, () => checked(reader.u24()));
  const bits = reader.u8();
  if (![0, 1, 2, 4, 8].includes(bits))
    throw new LedgerCorrupt(`a page of the ledger has ${bits} bits a cell`);
  const value = (number: number): Word => {
    const word = values[number];
    if (word === undefined)
      throw new LedgerCorrupt('a page of the ledger uses a value that it does not list');
    return word;
  };
  const words = new Uint32Array(count).fill(value(0));
  if (bits === 0) decodeSparse(reader, words, value);
  else {
    const packed = reader.bytes(Math.ceil((count * bits) / 8));
    const mask = 2 ** bits - 1;
    for (let i = 0; i < count; i++) {
      const at = i * bits;
      words[i] = value(((packed[at >> 3] as number) >> (8 - bits - (at & 7))) & mask);
    }
  }
  if (reader.left > 0) throw new LedgerCorrupt('a page of the ledger is too long');
  return words;
}

function decodeSparse(reader: Reader, words: Uint32Array, value: (number: number) => Word): void {
  let at = 0;
  while (reader.left > 0) {
    const gap = reader.u8();
    at += gap;
    if (gap === MAX_GAP) continue;
    const number = reader.u8();
    const repeat = number & REPEAT ? (reader.u8() << 8) | reader.u8() : 0;
    if (at + repeat >= words.length)
      throw new LedgerCorrupt('a page of the ledger claims more cells than it holds');
    words.fill(value(number & ~REPEAT), at, at + repeat + 1);
    at += repeat + 1;
  }
}

function checked(word: Word): Word {
  try {
    fromWord(word);
    return word;
  } catch (error) {
    throw new LedgerCorrupt((error as Error).message);
  }
}
