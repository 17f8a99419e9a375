import { hkdf } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, concatBytes, hexToBytes, randomBytes } from '@noble/hashes/utils.js';
import { NONCE_BYTES, open, seal } from './cipher.js';
import { text } from './encoding.js';
import { Unopened } from './errors.js';

const VERSION = 2;
/** Version and epoch. */
const HEAD_BYTES = 17;

/** 32 bytes by HKDF-SHA-256 without a salt (docs/formats/backup.md). @param secret 32 bytes */
export const derive = (secret: Uint8Array, info: string): Uint8Array =>
  hkdf(sha256, secret, undefined, text(info), 32);

/** Keys that open parts. Parts of version 1 belong to an epoch of their own, {@link V1}. */
export interface PartKeys {
  /** associated data of its parts */
  readonly about: Uint8Array;
  /** Key of a part, 32 bytes. @param name 64 hexadecimal digits */
  partKey(name: string): Uint8Array;
}

/** The epoch that parts of version 1 name. */
export const V1 = 'v1';

export class V1Keys implements PartKeys {
  readonly about = text('bkv part v1');

  /** @param part @param snapshot 32 bytes each */
  constructor(
    readonly part: Uint8Array,
    readonly snapshot: Uint8Array,
  ) {}

  /** @param backupKey @param salt 32 bytes each */
  static of(backupKey: Uint8Array, salt: Uint8Array): V1Keys {
    const key = (info: string) => hkdf(sha256, backupKey, salt, text(`bkv backup v1 ${info}`), 32);
    return new V1Keys(key('part key'), key('snapshot'));
  }

  /** Identifies the backup: 16 hexadecimal digits. */
  get id(): string {
    return bytesToHex(hmac(sha256, this.snapshot, text('bkv id'))).slice(0, 16);
  }

  partKey(name: string): Uint8Array {
    return hmac(sha256, this.part, hexToBytes(name));
  }

  /** @returns the snapshot's JSON. @throws BackupError */
  async openSnapshot(name: string, sealed: Uint8Array): Promise<Uint8Array> {
    const [nonce, rest] = [sealed.slice(0, NONCE_BYTES), sealed.slice(NONCE_BYTES)];
    const plaintext = await open(this.snapshot, nonce, text(`bkv snapshot v1 ${name}`), rest);
    if (!plaintext) throw new Unopened(`snapshot ${name}`);
    return plaintext;
  }
}

/** The epoch whose key sealed an object, 32 digits; `undefined` when it is not of this format. */
export function epochOf(sealed: Uint8Array): string | undefined {
  return sealed[0] === VERSION && sealed.length > HEAD_BYTES
    ? bytesToHex(sealed.subarray(1, HEAD_BYTES))
    : undefined;
}

/** A master key, and the keys derived from it. */
export class Epoch implements PartKeys {
  readonly about = text('bkv part v2');
  readonly #nameKey: Uint8Array;
  readonly #partKey: Uint8Array;
  readonly #sealKeys = new Map<string, Uint8Array>();

  /** @param id 32 hexadecimal digits @param masterKey 32 bytes */
  constructor(
    readonly id: string,
    readonly masterKey: Uint8Array,
    readonly number: number,
  ) {
    this.#nameKey = derive(masterKey, 'bkv 2 part name');
    this.#partKey = derive(masterKey, 'bkv 2 part key');
  }

  /** Name of a part, 64 digits. @param digest SHA-256 of its plaintext @param variant 0 to 255 */
  partName(digest: Uint8Array, variant: number): string {
    return bytesToHex(hmac(sha256, this.#nameKey, concatBytes(digest, Uint8Array.of(variant))));
  }

  partKey(name: string): Uint8Array {
    return hmac(sha256, this.#partKey, hexToBytes(name));
  }

  /** PSK for the wraps of a later epoch, 32 bytes. */
  get successorKey(): Uint8Array {
    return derive(this.masterKey, 'bkv 2 successor');
  }

  /**
   * What a device keeps in order to recognise the epoch: 64 hexadecimal digits, which reveal nothing about
   * the key.
   */
  get mark(): string {
    return bytesToHex(derive(this.masterKey, 'bkv 2 mark'));
  }

  /** @param name that of the object, with its folder */
  async seal(name: string, plaintext: Uint8Array): Promise<Uint8Array> {
    const head = concatBytes(Uint8Array.of(VERSION), hexToBytes(this.id));
    const nonce = randomBytes(NONCE_BYTES);
    return concatBytes(head, nonce, await seal(this.#sealKey(name), nonce, about(name, head), plaintext));
  }

  /** @throws BackupError */
  async open(name: string, sealed: Uint8Array): Promise<Uint8Array> {
    const [head, nonce] = [sealed.slice(0, HEAD_BYTES), sealed.slice(HEAD_BYTES, HEAD_BYTES + NONCE_BYTES)];
    const plaintext =
      epochOf(sealed) === this.id && nonce.length === NONCE_BYTES
        ? await open(this.#sealKey(name), nonce, about(name, head), sealed.slice(HEAD_BYTES + NONCE_BYTES))
        : undefined;
    if (!plaintext) throw new Unopened(name);
    return plaintext;
  }

  #sealKey(name: string): Uint8Array {
    const folder = name.slice(0, name.indexOf('/'));
    const key = this.#sealKeys.get(folder) ?? derive(this.masterKey, `bkv 2 seal ${folder}`);
    this.#sealKeys.set(folder, key);
    return key;
  }
}

const about = (name: string, head: Uint8Array): Uint8Array =>
  concatBytes(text(`bkv 2 ${name}`), Uint8Array.of(0), head);
