/**
 * The token objects of the ledger, as bytes. All integers are big-endian.
 *
 * Page `bkv.ledger.page.<n>`: "BKVP" ‖ version u8 ‖ 3 zero bytes ‖ page u32 ‖ generation u32 ‖ sequence u64 ‖
 * 8 zero bytes ‖ one byte a slot. The page holds every change of its slots up to journal `sequence`.
 *
 * Journal `bkv.ledger.journal`: "BKVJ" ‖ version u8 ‖ 3 zero bytes ‖ sequence u64 ‖ folded u64 ‖ pages u32 ‖
 * then for each change slot u32 ‖ value u8. Everything up to `folded` is in the pages.
 */
export const PAGE_LABEL = 'bkv.ledger.page.';
export const JOURNAL_LABEL = 'bkv.ledger.journal';

const HEADER = 32;
const VERSION = 1;

/** Slots of a page: with its header a page is a data object of 4,096 bytes. */
export const PAGE_SLOTS = 4096 - HEADER;

/** What the byte of a slot says; `live(used)` for 0 to 200 attempts used. */
export const SLOT = { free: 0, reserved: 253, dead: 254, locked: 255 } as const;
export const MAX_ATTEMPTS = 200;
export const live = (used: number): number => used + 1;
export const used = (value: number): number => value - 1;
export const isLive = (value: number): boolean => value >= 1 && value <= MAX_ATTEMPTS + 1;

/** The ledger in the token is not one that this program wrote whole. */
export class LedgerCorrupt extends Error {
  override name = 'LedgerCorrupt';
}

export interface Page {
  readonly page: number;
  readonly generation: number;
  readonly sequence: bigint;
  readonly slots: Uint8Array;
}

export interface Journal {
  readonly sequence: bigint;
  readonly folded: bigint;
  readonly pages: number;
  readonly changes: readonly (readonly [slot: number, value: number])[];
}

function header(magic: string, length: number): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(length);
  bytes.set(Buffer.from(magic));
  bytes[4] = VERSION;
  return { bytes, view: new DataView(bytes.buffer) };
}

function check(magic: string, bytes: Uint8Array): DataView {
  if (
    bytes.length < HEADER ||
    Buffer.from(bytes.subarray(0, 4)).toString() !== magic ||
    bytes[4] !== VERSION
  ) {
    throw new LedgerCorrupt(`an object of the ledger is not a ${magic} of version ${VERSION}`);
  }
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

export function encodePage({ page, generation, sequence, slots }: Page): Uint8Array {
  const { bytes, view } = header('BKVP', HEADER + slots.length);
  view.setUint32(8, page);
  view.setUint32(12, generation);
  view.setBigUint64(16, sequence);
  bytes.set(slots, HEADER);
  return bytes;
}

export function decodePage(bytes: Uint8Array): Page {
  const view = check('BKVP', bytes);
  if (bytes.length !== HEADER + PAGE_SLOTS)
    throw new LedgerCorrupt(`a page of the ledger has ${bytes.length} bytes`);
  return {
    page: view.getUint32(8),
    generation: view.getUint32(12),
    sequence: view.getBigUint64(16),
    slots: bytes.slice(HEADER),
  };
}

export function encodeJournal({ sequence, folded, pages, changes }: Journal): Uint8Array {
  const { bytes, view } = header('BKVJ', HEADER + changes.length * 5);
  view.setBigUint64(8, sequence);
  view.setBigUint64(16, folded);
  view.setUint32(24, pages);
  changes.forEach(([slot, value], i) => {
    view.setUint32(HEADER + i * 5, slot);
    view.setUint8(HEADER + i * 5 + 4, value);
  });
  return bytes;
}

export function decodeJournal(bytes: Uint8Array): Journal {
  const view = check('BKVJ', bytes);
  if ((bytes.length - HEADER) % 5) throw new LedgerCorrupt('a journal object of the ledger is cut off');
  const changes: [number, number][] = [];
  for (let at = HEADER; at < bytes.length; at += 5) changes.push([view.getUint32(at), view.getUint8(at + 4)]);
  return {
    sequence: view.getBigUint64(8),
    folded: view.getBigUint64(16),
    pages: view.getUint32(24),
    changes,
  };
}
