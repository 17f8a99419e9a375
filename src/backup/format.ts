import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';

/** Bytes of plaintext in a full part. */
export const PART_BYTES = 4 * 1024 * 1024;

/** A backup that cannot be read: damaged, of another key, or of a later version. */
export class BackupError extends Error {
  override name = 'BackupError';
}

export type Content = readonly [part: string, offset: number, length: number];

export type Entry =
  | { path: string; type: 'file'; mode: number; mtime: number; size: number; content: Content[] }
  | { path: string; type: 'directory'; mode: number; mtime: number }
  | { path: string; type: 'symlink'; target: string };

export interface Snapshot {
  readonly created: string;
  readonly files: number;
  readonly bytes: number;
  readonly manifest: readonly (readonly [part: string, length: number])[];
}

const TAG = 16;
const NONCE = 12;
const PART_AAD = Buffer.from('bkv part v1');

function seal(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Buffer[] {
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(aad);
  return [cipher.update(plaintext), cipher.final(), cipher.getAuthTag()];
}

function open(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array, what: string): Buffer {
  if (sealed.length < TAG) throw new BackupError(`${what} is cut off`);
  const decipher = createDecipheriv('aes-256-gcm', key, nonce);
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(-TAG));
  const plaintext = decipher.update(sealed.subarray(0, -TAG));
  try {
    decipher.final();
  } catch {
    throw new BackupError(`${what} is damaged, or of another key`);
  }
  return plaintext;
}

/** Seals and opens the files of one backup, as docs/backup-format.md says. */
export class Format {
  readonly #nameKey: Buffer;
  readonly #partKey: Buffer;
  readonly #snapshotKey: Buffer;

  /** @param backupKey 32 bytes @param salt 32 bytes */
  constructor(backupKey: Uint8Array, salt: Uint8Array) {
    const derive = (info: string) =>
      Buffer.from(hkdfSync('sha256', backupKey, salt, `bkv backup v1 ${info}`, 32));
    this.#nameKey = derive('part name');
    this.#partKey = derive('part key');
    this.#snapshotKey = derive('snapshot');
  }

  /** Name of a part, 64 hexadecimal digits. */
  partName(plaintext: Uint8Array): string {
    return createHmac('sha256', this.#nameKey).update(plaintext).digest('hex');
  }

  sealPart(name: string, plaintext: Uint8Array): Buffer[] {
    return seal(this.#keyOf(name), Buffer.alloc(NONCE), PART_AAD, plaintext);
  }

  /** @throws BackupError */
  openPart(name: string, sealed: Uint8Array): Buffer {
    const plaintext = open(this.#keyOf(name), Buffer.alloc(NONCE), PART_AAD, sealed, `part ${name}`);
    if (!timingSafeEqual(Buffer.from(this.partName(plaintext)), Buffer.from(name)))
      throw new BackupError(`part ${name} is not what its name says`);
    return plaintext;
  }

  sealSnapshot(name: string, snapshot: Snapshot): Buffer {
    const nonce = randomBytes(NONCE);
    return Buffer.concat([
      nonce,
      ...seal(this.#snapshotKey, nonce, snapshotAad(name), Buffer.from(JSON.stringify(snapshot))),
    ]);
  }

  /** @throws BackupError */
  openSnapshot(name: string, sealed: Uint8Array): Snapshot {
    const plaintext = open(
      this.#snapshotKey,
      sealed.subarray(0, NONCE),
      snapshotAad(name),
      sealed.subarray(NONCE),
      `snapshot ${name}`,
    );
    return JSON.parse(plaintext.toString()) as Snapshot;
  }

  #keyOf(name: string): Buffer {
    return createHmac('sha256', this.#partKey).update(Buffer.from(name, 'hex')).digest();
  }
}

const snapshotAad = (name: string): Buffer => Buffer.from(`bkv snapshot v1 ${name}`);
