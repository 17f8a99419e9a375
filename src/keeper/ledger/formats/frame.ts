import { createHash, timingSafeEqual } from 'node:crypto';
import { LedgerCorrupt } from '../errors.js';

/**
 * What all objects of the ledger have in common, from version 3 on and in versions to come: a magic of 4
 * bytes, the version (u8), and at the end a tag of 32 bytes by the token's ledger key. All integers are
 * big-endian.
 */
export const VERSION = 3;
export const TAG = 32;

export const PAGE_LABEL = 'bkv.ledger.page.';
export const JOURNAL_LABEL = 'bkv.ledger.journal';
/**
 * 16 random bytes. Whoever takes over the ledger destroys the previous one. Its content only tells its owner.
 */
export const WRITER_LABEL = 'bkv.ledger.writer';
export const MARK_LABEL = 'bkv.ledger.mark';

export type Mac = (data: Uint8Array) => Promise<Uint8Array>;

/** What the token authenticates: 43 bytes, however large the object is. */
export function tagInput(label: string, body: Uint8Array): Uint8Array {
  const digest = createHash('sha256').update(`${label}\0`).update(body).digest();
  return Buffer.concat([Buffer.from('bkv ledger\0'), digest]);
}

/** @param body an object without its tag */
export async function seal(mac: Mac, label: string, body: Uint8Array): Promise<Uint8Array> {
  return Buffer.concat([body, await mac(tagInput(label, body))]);
}

export const tagOf = (value: Uint8Array): Uint8Array => value.subarray(value.length - TAG);

export async function isGenuine(mac: Mac, label: string, value: Uint8Array): Promise<boolean> {
  if (value.length < 8 + TAG) return false;
  const tag = await mac(tagInput(label, value.subarray(0, value.length - TAG)));
  return timingSafeEqual(tag, tagOf(value));
}

export const magicOf = (value: Uint8Array): string => Buffer.from(value.subarray(0, 4)).toString('latin1');
export const versionOf = (value: Uint8Array): number => value[4] ?? 0;

/** Reads the fields of an object one after the other. @throws LedgerCorrupt when it ends too early */
export class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at: number;

  constructor(
    readonly name: string,
    bytes: Uint8Array,
    at: number,
  ) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#at = at;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  #advance(length: number): number {
    if (this.left < length) throw new LedgerCorrupt(`${this.name} of the ledger is cut off`);
    const at = this.#at;
    this.#at += length;
    return at;
  }

  u8(): number {
    return this.#view.getUint8(this.#advance(1));
  }
  u24(): number {
    const at = this.#advance(3);
    return (this.#view.getUint8(at) << 16) | this.#view.getUint16(at + 1);
  }
  u32(): number {
    return this.#view.getUint32(this.#advance(4));
  }
  u64(): bigint {
    return this.#view.getBigUint64(this.#advance(8));
  }
  bytes(length: number): Uint8Array {
    const at = this.#advance(length);
    return this.#bytes.slice(at, at + length);
  }
}

/** The fields of an object, one after the other. */
export class Fields {
  readonly #parts: Buffer[];

  constructor(magic: string, version = VERSION) {
    this.#parts = [Buffer.from(magic, 'latin1'), Buffer.from([version, 0, 0, 0])];
  }

  u8(value: number): this {
    return this.bytes(Buffer.from([value]));
  }
  u24(value: number): this {
    return this.bytes(Buffer.from([value >>> 16, (value >>> 8) & 0xff, value & 0xff]));
  }
  u32(value: number): this {
    const part = Buffer.alloc(4);
    part.writeUInt32BE(value);
    return this.bytes(part);
  }
  u64(value: bigint): this {
    const part = Buffer.alloc(8);
    part.writeBigUInt64BE(value);
    return this.bytes(part);
  }
  bytes(value: Uint8Array): this {
    this.#parts.push(Buffer.from(value));
    return this;
  }
  done(): Uint8Array {
    return Buffer.concat(this.#parts);
  }
}
