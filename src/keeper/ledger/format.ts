/**
 * The token objects of the ledger, as bytes. All integers are big-endian.
 *
 * Page `bkv.ledger.page.<n>`: "BKVP" ‖ version u8 ‖ 3 zero bytes ‖ page u32 ‖ generation u32 ‖ sequence u64 ‖
 * next u32 ‖ 4 zero bytes ‖ one byte a slot. The page holds every change of its slots up to `sequence`. `next` is the
 * generation that its records are being moved to, or 0.
 *
 * Journal `bkv.ledger.journal`: "BKVJ" ‖ version u8 ‖ 3 zero bytes ‖ first u64 ‖ last u64 ‖ folded u64 ‖ term u32 ‖
 * pages u32 ‖ then for each slot that changed from `first` to `last` slot u32 ‖ its newest value u8. What its page held
 * already when the journal was written is left out. Everything up to `folded` is in the pages.
 *
 * Writer `bkv.ledger.writer`: 16 random bytes. Who takes the ledger over destroys the one before.
 */
import { CodedError } from '../../protocol/index.js';

export const PAGE_LABEL = 'bkv.ledger.page.';
export const JOURNAL_LABEL = 'bkv.ledger.journal';
export const WRITER_LABEL = 'bkv.ledger.writer';

const PAGE_HEADER = 32;
const JOURNAL_HEADER = 40;
const CHANGE = 5;
const VERSION = 2;

/** Slots of a page: with its header a page is a data object of 4,096 bytes. */
export const PAGE_SLOTS = 4096 - PAGE_HEADER;

/** Slots that one journal object changes at most: it stays below 4,096 bytes, which small tokens take. */
export const JOURNAL_SLOTS = Math.floor((4096 - JOURNAL_HEADER) / CHANGE);

/**
 * What the byte of a slot says; `live(used)` for 0 to 200 attempts used. The key that wrapped what a dead or locked slot
 * held is still in the token; once it is destroyed, a dead slot is free again and a locked one is shredded. `last` is
 * live with one attempt left, whatever the limit.
 */
export const SLOT = { free: 0, last: 251, shredded: 252, reserved: 253, dead: 254, locked: 255 } as const;
export const MAX_ATTEMPTS = 200;
export const live = (used: number): number => used + 1;
export const used = (value: number, maxAttempts: number): number =>
  value === SLOT.last ? maxAttempts - 1 : value - 1;
export const isLive = (value: number): boolean =>
  (value >= 1 && value <= MAX_ATTEMPTS + 1) || value === SLOT.last;

/** The ledger in the token is not one that this program wrote whole. */
export class LedgerCorrupt extends CodedError {
  constructor(message: string) {
    super('ledger-corrupt', message);
  }
}

export interface Page {
  readonly page: number;
  readonly generation: number;
  readonly next: number;
  readonly sequence: bigint;
  readonly slots: Uint8Array;
}

/** A page of a ledger that is backed up. */
export type BackedUpPage = Pick<Page, 'page' | 'generation' | 'next' | 'slots'>;

export interface Journal {
  readonly first: bigint;
  readonly last: bigint;
  readonly folded: bigint;
  /** grows with every take-over of the ledger */
  readonly term: number;
  readonly pages: number;
  readonly changes: ReadonlyMap<number, number>;
}

function header(magic: string, length: number): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(length);
  bytes.set(Buffer.from(magic));
  bytes[4] = VERSION;
  return { bytes, view: new DataView(bytes.buffer) };
}

function check(magic: string, bytes: Uint8Array, length: number): DataView {
  if (
    bytes.length < length ||
    Buffer.from(bytes.subarray(0, 4)).toString() !== magic ||
    bytes[4] !== VERSION
  ) {
    throw new LedgerCorrupt(`an object of the ledger is not a ${magic} of version ${VERSION}`);
  }
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

export function encodePage({ page, generation, next, sequence, slots }: Page): Uint8Array {
  const { bytes, view } = header('BKVP', PAGE_HEADER + slots.length);
  view.setUint32(8, page);
  view.setUint32(12, generation);
  view.setBigUint64(16, sequence);
  view.setUint32(24, next);
  bytes.set(slots, PAGE_HEADER);
  return bytes;
}

export function decodePage(bytes: Uint8Array): Page {
  const view = check('BKVP', bytes, PAGE_HEADER);
  if (bytes.length !== PAGE_HEADER + PAGE_SLOTS)
    throw new LedgerCorrupt(`a page of the ledger has ${bytes.length} bytes`);
  return {
    page: view.getUint32(8),
    generation: view.getUint32(12),
    sequence: view.getBigUint64(16),
    next: view.getUint32(24),
    slots: bytes.slice(PAGE_HEADER),
  };
}

export function encodeJournal({ first, last, folded, term, pages, changes }: Journal): Uint8Array {
  const { bytes, view } = header('BKVJ', JOURNAL_HEADER + changes.size * CHANGE);
  view.setBigUint64(8, first);
  view.setBigUint64(16, last);
  view.setBigUint64(24, folded);
  view.setUint32(32, term);
  view.setUint32(36, pages);
  let at = JOURNAL_HEADER;
  for (const [slot, value] of changes) {
    view.setUint32(at, slot);
    view.setUint8(at + 4, value);
    at += CHANGE;
  }
  return bytes;
}

export function decodeJournal(bytes: Uint8Array): Journal {
  const view = check('BKVJ', bytes, JOURNAL_HEADER);
  if ((bytes.length - JOURNAL_HEADER) % CHANGE)
    throw new LedgerCorrupt('a journal object of the ledger is cut off');
  const changes = new Map<number, number>();
  for (let at = JOURNAL_HEADER; at < bytes.length; at += CHANGE)
    changes.set(view.getUint32(at), view.getUint8(at + 4));
  return {
    first: view.getBigUint64(8),
    last: view.getBigUint64(16),
    folded: view.getBigUint64(24),
    term: view.getUint32(32),
    pages: view.getUint32(36),
    changes,
  };
}
