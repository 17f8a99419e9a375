import { createCipheriv, createDecipheriv } from 'node:crypto';
import { CodedError } from '../../protocol/terms.js';

/** The place of a row. Each pair of cell and generation is written only once: any change takes a new cell. */
export interface Place {
  /** the account's name, 64 hexadecimal digits */
  readonly account: string;
  /** where its counter lies in the token's ledger */
  readonly cell: number;
  /**
   * generation of the page key that it is sealed under; 0 when the account is locked, and then the row holds
   * nothing else
   */
  readonly generation: number;
}

/** A row as the database holds it: docs/formats/records.md has every byte. */
export interface Row extends Place {
  readonly sealed: Uint8Array;
}

/** What a row says. Byte lengths: wrappedKey 80, publicKey 65, registrationRecord 129. */
export interface Content {
  /** which dealing of shares the key belongs to, 32 hexadecimal digits; empty for a key made in this token */
  readonly dealing: string;
  /** identity mode: whether the envelope binds the names of account and vault (RFC 9807, section 6.3.1) */
  readonly named: boolean;
  readonly wrappedKey: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly registrationRecord: Uint8Array;
  /** the backup key, encrypted by the client under a key that only the password opens */
  readonly encryptedBackupKey: Uint8Array;
}

export type OpenRow = Place & Content;

/** The bytes were not sealed under the page key for this place. */
export class BadRow extends CodedError {
  constructor(message: string) {
    super('database-failed', message);
  }
}

/** A row's generation when its account is locked. */
export const LOCKED = 0;
export const isLockedRow = ({ generation }: Pick<Row, 'generation'>): boolean => generation === LOCKED;

const VERSION = 2;
const CONTEXT = Buffer.from('bkv row 2');
export const NONCE_BYTES = 32;
const TAG_BYTES = 16;
const FIELDS = 4;
/** Each row has a key of its own. */
const IV = Buffer.alloc(12);

interface Header {
  readonly named: boolean;
  readonly dealing: string;
  readonly nonce: Uint8Array;
  readonly lengths: readonly number[];
  /** all fields above, as they are in the row */
  readonly bytes: Uint8Array;
}

/**
 * The input from which the page key makes the row's key (HMAC-SHA-256), 89 bytes.
 * @param nonce 32 bytes, fresh at every write
 */
export function rowKeyInput({ account, cell, generation }: Place, nonce: Uint8Array): Uint8Array {
  const place = Buffer.alloc(16);
  place.writeBigUInt64BE(BigInt(cell));
  place.writeBigUInt64BE(BigInt(generation), 8);
  const name = Buffer.from(account, 'hex');
  if (name.length !== 32) throw new BadRow('an account has no name of 32 bytes');
  return Buffer.concat([CONTEXT, name, place, nonce]);
}

/** @param key the row's, 32 bytes: it belongs to one place and nonce, and so to one row */
export function sealRow(place: Place, content: Content, nonce: Uint8Array, key: Uint8Array): Row {
  const fields = [
    content.wrappedKey,
    content.publicKey,
    content.registrationRecord,
    content.encryptedBackupKey,
  ];
  const dealing = Buffer.from(content.dealing, 'hex');
  const lengths = Buffer.alloc(2 * FIELDS);
  fields.forEach(({ length }, i) => {
    lengths.writeUInt16BE(length, 2 * i);
  });
  const start = Uint8Array.of(VERSION, content.named ? 1 : 0, dealing.length);
  const header = Buffer.concat([start, dealing, nonce, lengths]);
  const cipher = createCipheriv('aes-256-gcm', key, IV);
  cipher.setAAD(Buffer.concat([rowKeyInput(place, nonce), header]));
  const body = Buffer.concat([...fields.map((field) => cipher.update(field)), cipher.final()]);
  return { ...pick(place), sealed: Buffer.concat([header, body, cipher.getAuthTag()]) };
}

/** The nonce that a row's key was made with, 32 bytes. @throws BadRow */
export const nonceOf = ({ sealed }: Row): Uint8Array => readHeader(sealed).nonce;

/** @param key HMAC of {@link rowKeyInput} under the page key @throws BadRow */
export function openRow(row: Row, key: Uint8Array): OpenRow {
  const { named, dealing, nonce, lengths, bytes } = readHeader(row.sealed);
  const decipher = createDecipheriv('aes-256-gcm', key, IV);
  decipher.setAAD(Buffer.concat([rowKeyInput(row, nonce), bytes]));
  decipher.setAuthTag(row.sealed.subarray(-TAG_BYTES));
  const body = decipher.update(row.sealed.subarray(bytes.length, -TAG_BYTES));
  try {
    decipher.final();
  } catch {
    body.fill(0);
    throw new BadRow('the row is not what its page key made for this place');
  }
  let at = 0;
  const next = (i: number): Uint8Array => {
    const start = at;
    at += lengths[i] as number;
    return Uint8Array.from(body.subarray(start, at));
  };
  return {
    ...pick(row),
    dealing,
    named,
    wrappedKey: next(0),
    publicKey: next(1),
    registrationRecord: next(2),
    encryptedBackupKey: next(3),
  };
}

/** @throws BadRow when it is of another version, or its lengths do not add up */
function readHeader(sealed: Uint8Array): Header {
  const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.length);
  const [version, mode = 2, dealingBytes = 0] = bytes;
  if (version !== VERSION) throw new BadRow(`the row is of version ${version}, not ${VERSION}`);
  const end = 3 + dealingBytes + NONCE_BYTES + 2 * FIELDS;
  if (mode > 1 || (dealingBytes !== 0 && dealingBytes !== 16) || bytes.length < end + TAG_BYTES)
    throw new BadRow('the row is damaged');
  const lengths = Array.from({ length: FIELDS }, (_, i) => bytes.readUInt16BE(end - 2 * (FIELDS - i)));
  if (lengths.reduce((sum, length) => sum + length, end + TAG_BYTES) !== bytes.length)
    throw new BadRow('the row is cut off');
  return {
    named: mode === 1,
    dealing: bytes.toString('hex', 3, 3 + dealingBytes),
    nonce: bytes.subarray(3 + dealingBytes, end - 2 * FIELDS),
    lengths,
    bytes: bytes.subarray(0, end),
  };
}

const pick = ({ account, cell, generation }: Place): Place => ({ account, cell, generation });
