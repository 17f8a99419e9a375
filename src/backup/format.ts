import { bytesToHex, concatBytes, hexToBytes } from '@noble/hashes/utils.js';

/** Bytes of plaintext in a full part. */
export const PART_BYTES = 4 * 1024 * 1024;

/** Bytes that a sealed part is longer than its plaintext. */
export const TAG_BYTES = 16;

/** A backup that cannot be read: damaged, of another key, or of a later version. */
export class BackupError extends Error {
  override name = 'BackupError';
}

export type Content = readonly [part: string, offset: number, length: number];

export type FileEntry = {
  path: string;
  type: 'file';
  mode: number;
  mtime: number;
  size: number;
  content: Content[];
};
export type DirectoryEntry = { path: string; type: 'directory'; mode: number; mtime: number };
export type SymlinkEntry = { path: string; type: 'symlink'; target: string };
export type Entry = FileEntry | DirectoryEntry | SymlinkEntry;

export interface Snapshot {
  readonly created: string;
  readonly files: number;
  readonly bytes: number;
  readonly manifest: readonly (readonly [part: string, length: number])[];
}

type Bytes = Uint8Array<ArrayBuffer>;

/** Makes the {@link Format} of a backup from its key and salt, 32 bytes each. */
export type FormatOf = (backupKey: Uint8Array, salt: Uint8Array) => Promise<Format>;

const { subtle } = globalThis.crypto;
export const NONCE_BYTES = 12;
const text = (plain: string): Bytes => new TextEncoder().encode(plain);
/** Associated data of every part. */
export const PART_AAD = text('bkv part v1');
/** What HKDF derives a key for. */
export const keyInfo = (key: 'part name' | 'part key' | 'snapshot'): Bytes => text(`bkv backup v1 ${key}`);
const snapshotAad = (name: string): Bytes => text(`bkv snapshot v1 ${name}`);

async function open(key: CryptoKey, iv: Bytes, additionalData: Bytes, sealed: Bytes, what: string) {
  try {
    return new Uint8Array(await subtle.decrypt({ name: 'AES-GCM', iv, additionalData }, key, sealed));
  } catch {
    throw new BackupError(`${what} is damaged, or of another key`);
  }
}

export interface FormatKeys {
  readonly nameKey: CryptoKey;
  readonly partKey: CryptoKey;
  readonly snapshotKey: CryptoKey;
  readonly id: string;
}

/**
 * Seals and opens the files of one backup, as docs/backup-format.md says, by WebCrypto: it is the same in browsers, and in
 * Node.js works beside the program's own thread.
 */
export class Format {
  readonly #nameKey: CryptoKey;
  readonly #partKey: CryptoKey;
  readonly #snapshotKey: CryptoKey;
  /** tells this backup from others: 16 hexadecimal digits */
  readonly id: string;

  protected constructor({ nameKey, partKey, snapshotKey, id }: FormatKeys) {
    this.#nameKey = nameKey;
    this.#partKey = partKey;
    this.#snapshotKey = snapshotKey;
    this.id = id;
  }

  /** @param backupKey 32 bytes @param salt 32 bytes */
  static async of(backupKey: Uint8Array, salt: Uint8Array): Promise<Format> {
    return new Format(await Format.keysOf(backupKey, salt));
  }

  protected static async keysOf(backupKey: Uint8Array, salt: Uint8Array): Promise<FormatKeys> {
    const secret = await subtle.importKey('raw', Uint8Array.from(backupKey), 'HKDF', false, ['deriveKey']);
    const derive = (
      key: Parameters<typeof keyInfo>[0],
      algorithm: AesKeyAlgorithm | HmacImportParams,
      usages: KeyUsage[],
    ) =>
      subtle.deriveKey(
        { name: 'HKDF', hash: 'SHA-256', salt: Uint8Array.from(salt), info: keyInfo(key) },
        secret,
        algorithm,
        false,
        usages,
      );
    const hmac = { name: 'HMAC', hash: 'SHA-256', length: 256 };
    const id = bytesToHex(new Uint8Array(await subtle.digest('SHA-256', Uint8Array.from(salt)))).slice(0, 16);
    return {
      nameKey: await derive('part name', hmac, ['sign']),
      partKey: await derive('part key', hmac, ['sign']),
      snapshotKey: await derive('snapshot', { name: 'AES-GCM', length: 256 }, ['encrypt', 'decrypt']),
      id,
    };
  }

  /** Memory for a part and its tag. */
  buffer(): Uint8Array {
    return new Uint8Array(PART_BYTES + TAG_BYTES);
  }

  /** Name of a part, 64 hexadecimal digits. */
  async partName(plaintext: Uint8Array): Promise<string> {
    return bytesToHex(new Uint8Array(await subtle.sign('HMAC', this.#nameKey, plaintext as Bytes)));
  }

  /** @returns the plaintext's length and {@link TAG_BYTES}; the plaintext's buffer is used up */
  async sealPart(name: string, plaintext: Uint8Array): Promise<Uint8Array> {
    const key = await this.#keyOf(name);
    const parameters = { name: 'AES-GCM', iv: new Uint8Array(NONCE_BYTES), additionalData: PART_AAD };
    return new Uint8Array(await subtle.encrypt(parameters, key, plaintext as Bytes));
  }

  /** The key is the name's own: what opens is what was stored under it. The sealed bytes are used up. @throws BackupError */
  async openPart(name: string, sealed: Uint8Array): Promise<Uint8Array> {
    const key = await this.#keyOf(name);
    return open(key, new Uint8Array(NONCE_BYTES), PART_AAD, sealed as Bytes, `part ${name}`);
  }

  async sealSnapshot(name: string, snapshot: Snapshot): Promise<Bytes> {
    const iv = globalThis.crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
    const parameters = { name: 'AES-GCM', iv, additionalData: snapshotAad(name) };
    const sealed = await subtle.encrypt(parameters, this.#snapshotKey, text(JSON.stringify(snapshot)));
    return concatBytes(iv, new Uint8Array(sealed));
  }

  /** @throws BackupError */
  async openSnapshot(name: string, sealed: Uint8Array): Promise<Snapshot> {
    const plaintext = await open(
      this.#snapshotKey,
      sealed.slice(0, NONCE_BYTES),
      snapshotAad(name),
      sealed.slice(NONCE_BYTES),
      `snapshot ${name}`,
    );
    return JSON.parse(new TextDecoder().decode(plaintext)) as Snapshot;
  }

  async #keyOf(name: string): Promise<CryptoKey> {
    const raw = await subtle.sign('HMAC', this.#partKey, hexToBytes(name));
    return subtle.importKey('raw', raw, 'AES-GCM', false, ['encrypt', 'decrypt']);
  }
}
