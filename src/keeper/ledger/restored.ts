import { randomBytes } from 'node:crypto';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { PAGE_KEY_PREFIX } from '../pkcs11/index.js';
import { JOURNAL_LABEL, PAGE_LABEL, tagInput } from './formats/frame.js';
import { encodeJournal, encodePage } from './formats/v3.js';
import { OBJECT_BYTES, PAGE_CELLS } from './ledger.js';
import { digestOf } from './replay.js';
import { type CellState, fromWord, toWord } from './state.js';

/** A page of a ledger that is backed up. */
export interface BackedUpPage {
  readonly generation: number;
  readonly next: number;
  readonly words: Uint32Array;
}

/** The cells of a page for a backup: three bytes each, deflated (RFC 1951). */
export function packWords(words: Uint32Array): Uint8Array {
  const bytes = Buffer.alloc(words.length * 3);
  words.forEach((word, i) => {
    bytes.writeUIntBE(word, i * 3, 3);
  });
  return deflateRawSync(bytes);
}

/** @throws RangeError when cells are missing or cut off */
export function unpackWords(packed: Uint8Array): Uint32Array {
  const bytes = inflateRawSync(packed, { maxOutputLength: 3 * 2 ** 20 });
  if (bytes.length % 3) throw new RangeError('cells of a backup are cut off');
  return Uint32Array.from({ length: bytes.length / 3 }, (_, i) => bytes.readUIntBE(i * 3, 3));
}

/** The limit of an account if the backup does not give one. */
const LIMIT = 10;

/**
 * The objects of a ledger that goes on from a backup. What happened since the backup is not known. So every
 * account that could be alive has one attempt: those that were alive, and those that may have registered in a
 * cell that was free. Accounts that had ended stay ended. The new ledger begins after every change that an
 * earlier ledger can have counted.
 * @param keys labels of the page keys that the backup holds, also of pages newer than `pages`
 * @param mac HMAC under the ledger key of the token that they are for
 * @param objectBytes most bytes of an object of that token
 */
export function restoredLedger(
  pages: readonly BackedUpPage[],
  keys: readonly string[],
  mac: (data: Uint8Array) => Uint8Array,
  objectBytes: number = OBJECT_BYTES,
): { label: string; value: Uint8Array }[] {
  const seal = (label: string, body: Uint8Array) => {
    const tag = mac(tagInput(label, body));
    return { label, tag, value: Buffer.concat([body, tag]) };
  };
  const generations = generationsOf(keys);
  const count = Math.max(pages.length, ...[...generations.keys()].map((page) => page + 1));
  const head = { ledger: randomBytes(16), term: 1 };
  const sequence = BigInt(Date.now()) << 20n;
  const limit = pages.reduce((largest, { words }) => words.reduce(largestLimit, largest), 0) || LIMIT;
  const objects = [];
  for (let page = 0, first = 0; page < count; page++) {
    const known = pages[page];
    const [one = 0, other = 0] = generations.get(page) ?? [];
    const generation = known?.generation ?? one;
    const next = known?.next || (one === generation ? other : one);
    const words = (known?.words ?? new Uint32Array(PAGE_CELLS)).map((word) =>
      toWord(oneAttempt(fromWord(word), limit)),
    );
    for (const { body } of encodePage(
      { ...head, sequence: sequence - 1n, page, generation, next, first, words },
      objectBytes,
    ))
      objects.push(seal(PAGE_LABEL + page, body));
    first += words.length;
  }
  const journal = encodeJournal({
    ...head,
    first: sequence,
    last: sequence,
    folded: sequence - 1n,
    objects: objects.length,
    digest: digestOf(objects),
    changes: new Map(),
  });
  return [...objects, seal(JOURNAL_LABEL, journal)];
}

/** Page → its generations. */
function generationsOf(keys: readonly string[]): Map<number, number[]> {
  const generations = new Map<number, number[]>();
  for (const label of keys) {
    const [page, generation] = label.slice(PAGE_KEY_PREFIX.length).split('.').map(Number) as [number, number];
    generations.set(page, [...(generations.get(page) ?? []), generation]);
  }
  return generations;
}

function largestLimit(largest: number, word: number): number {
  const cell = fromWord(word);
  return cell.state === 'live' ? Math.max(largest, cell.limit) : largest;
}

/** @param limit for a cell that had none */
function oneAttempt(cell: CellState, limit: number): CellState {
  if (cell.state === 'dead' || cell.state === 'locked') return cell;
  if (cell.state === 'live') return { ...cell, used: cell.limit - 1 };
  return { state: 'live', limit, used: limit - 1, proven: false };
}
