import { ObjectError, type Storage, StorageError, type Stored } from '../storage/storage.js';
import { type Cipher, PART_BYTES, TAG_BYTES, webCipher } from './cipher.js';
import { fromBase64url, parseObject, text } from './encoding.js';
import { type Epoch, V1Keys } from './epoch.js';
import { BackupError, BadPart } from './errors.js';
import type { Part } from './format.js';
import { beginKeyring, Keyring, openKeyring, UnknownEpoch } from './keyring.js';
import { objectsOf } from './objects.js';
import { type BackupKey, type Opener, openerOf } from './openers.js';
import { keepReserve } from './reserve.js';

const HEADER = 'bkv-backup.json';
const HEADER_CONTENT = '{"format":"bkv-backup","version":2}\n';
/** Most bytes of a header. */
const MOST_HEADER = 65_536;
const PART = /^parts\/([0-9a-f]{2})\/(\1[0-9a-f]{62})$/;
/** Objects that an interrupted beginning may leave. */
const BEGUN = /^(bkv-backup\.json$|(copies\/)?(epochs|openers)\/)/;
/** How many unreadable parts in a row count as an outage. */
const OUTAGE = 3;

export const partPath = (name: string): string => `parts/${name.slice(0, 2)}/${name}`;

/** A backup in a storage, opened. */
export class Repository {
  /** parts that could not be read since the last one that could */
  readonly #unreadable = new Set<string>();
  #head: Epoch | undefined;

  private constructor(
    readonly storage: Storage,
    readonly opener: Opener,
    readonly cipher: Cipher,
    readonly keyring: Keyring,
  ) {}

  /**
   * Opens a backup of this version, or begins one if the storage is empty. @throws BackupError, StorageError
   */
  static async openOrCreate(storage: Storage, key: BackupKey, cipher: Cipher = webCipher) {
    const opener = openerOf(key);
    const header = await readHeader(storage);
    if (header === 1)
      throw new BackupError(`${storage.location} is a backup of version 1; move it first: bkv migrate`);
    const keyring = await openKeyring(storage, opener);
    keyring?.headToWrite;
    if (!keyring) {
      await checkEmpty(storage, header);
      await beginKeyring(storage, opener);
    }
    if (header !== 2) await writeHeader(storage);
    if (keyring) return new Repository(storage, opener, cipher, keyring);
    await keepReserve(storage);
    return Repository.open(storage, opener, cipher);
  }

  /** Opens a backup of any version to read it. @throws BackupError, StorageError */
  static async open(storage: Storage, key: BackupKey, cipher: Cipher = webCipher): Promise<Repository> {
    const opener = openerOf(key);
    const header = await readHeader(storage);
    const keyring = await openKeyring(storage, opener);
    if (keyring) return new Repository(storage, opener, cipher, keyring);
    const salt = header === 1 ? await readSalt(storage) : undefined;
    if (header === 'damaged') throw new BackupError(`${HEADER} of ${storage.location} is damaged`);
    if (!salt)
      throw new BackupError(
        `${storage.location} is not a backup: it has no ${header === 2 ? 'openers' : HEADER}`,
      );
    return new Repository(storage, opener, cipher, Keyring.ofV1(V1Keys.of(opener.secret, salt)));
  }

  /** Identifies this backup, also after a migration: 16 hexadecimal digits. */
  get id(): string {
    const { v1, epochs } = this.keyring;
    return v1 ? v1.id : (epochs.at(-1)?.id.slice(0, 16) as string);
  }

  /** The epoch under which new objects are written. @throws BackupError when that would be an older one */
  get head(): Epoch {
    this.#head ??= this.keyring.headToWrite;
    return this.#head;
  }

  /** The same, with the epochs that are there now. */
  reopen(): Promise<Repository> {
    return Repository.open(this.storage, this.opener, this.cipher);
  }

  /**
   * @param into memory that may be used for it: a buffer of the cipher
   * @throws BackupError when the part is missing, damaged or cannot be read; StorageError when nothing can be
   * read
   */
  async getPart({ name, length, epoch }: Part, into?: Uint8Array): Promise<Uint8Array> {
    const keys = this.keyring.partKeys(epoch);
    const sealed = await this.#read(partPath(name), into);
    // If the disk is no longer mounted, everything is missing.
    if (!sealed && !(await this.#answers()))
      throw new StorageError(`${this.storage.location} is not there any more`);
    if (!sealed) throw new BadPart(`part ${name} is missing`);
    const plaintext = await this.cipher.open(keys.partKey(name), keys.about, sealed);
    if (!plaintext) throw new BadPart(`part ${name} is damaged, or of another key`);
    if (length !== undefined && plaintext.length !== length)
      throw new BadPart(`part ${name} has another length than the list of files says`);
    return plaintext;
  }

  /** One object that cannot be read is damaged. If others cannot be read either, it is an outage. */
  async #read(name: string, into?: Uint8Array): Promise<Uint8Array | undefined> {
    try {
      const content = await this.storage.read(name, PART_BYTES + TAG_BYTES, into);
      this.#unreadable.clear();
      return content;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      const single = error instanceof ObjectError || (await this.#answers());
      if (!(error instanceof ObjectError)) this.#unreadable.add(name);
      if (!single || this.#unreadable.size >= OUTAGE) throw error;
      throw new BadPart(`${name} cannot be read: ${error.message}`);
    }
  }

  async #answers(): Promise<boolean> {
    return this.storage.size(HEADER).then(
      (size) => size !== undefined,
      () => false,
    );
  }

  /** All parts that are there, with their objects. */
  async *parts(): AsyncGenerator<Stored & { part: string }> {
    for await (const stored of objectsOf(this.storage, 'parts')) {
      const [, , part] = PART.exec(stored.name) ?? [];
      if (part) yield { ...stored, part };
    }
  }

  deletePart(name: string): Promise<void> {
    return this.storage.delete(partPath(name));
  }

  /** Objects of a folder, with their content, which is `undefined` if it is damaged. @throws UnknownEpoch */
  async *sealed(folder: 'claims' | 'marks', most: number): AsyncGenerator<Stored & { content?: Uint8Array }> {
    for await (const stored of objectsOf(this.storage, folder)) {
      const sealed = await this.storage.read(stored.name, most);
      if (!sealed) continue;
      const content = await this.open(stored.name, sealed);
      yield { ...stored, ...(content && { content }) };
    }
  }

  /** @returns `undefined` when it is damaged. @throws UnknownEpoch */
  async open(name: string, sealed: Uint8Array): Promise<Uint8Array | undefined> {
    try {
      return (await this.keyring.open(name, sealed)).plaintext;
    } catch (error) {
      if (error instanceof BackupError && !(error instanceof UnknownEpoch)) return undefined;
      throw error;
    }
  }
}

/**
 * Moves a backup from version 1 to this version. No part is read or written. @returns whether it was of
 * version 1
 */
export async function migrateRepository(storage: Storage, key: BackupKey): Promise<boolean> {
  const opener = openerOf(key);
  if ((await readHeader(storage)) !== 1) return false;
  const salt = await readSalt(storage);
  if (!(await openKeyring(storage, opener)))
    await beginKeyring(storage, opener, V1Keys.of(opener.secret, salt as Uint8Array));
  // This is the last step. Readers of version 1 work until it, those of version 2 from the first step on.
  await writeHeader(storage);
  return true;
}

/** @returns the version; `undefined` when there is no header */
async function readHeader(storage: Storage): Promise<1 | 2 | 'damaged' | undefined> {
  const content = await storage.read(HEADER, MOST_HEADER);
  if (!content) return undefined;
  const header = parseHeader(content);
  if (!header) return 'damaged';
  if (header.format === 'bkv-backup' && header.version === 2) return 2;
  if (header.format === 'bkv-backup' && header.version === 1) return 1;
  throw new BackupError(`${storage.location} is a backup of a version that this program does not know`);
}

async function readSalt(storage: Storage): Promise<Uint8Array | undefined> {
  const content = await storage.read(HEADER, MOST_HEADER);
  return content && fromBase64url(parseHeader(content)?.salt, 32);
}

function parseHeader(content: Uint8Array): Record<string, unknown> | undefined {
  try {
    return parseObject(content, HEADER);
  } catch {
    return undefined;
  }
}

async function writeHeader(storage: Storage): Promise<void> {
  await storage.write(HEADER, text(HEADER_CONTENT));
  await storage.flush();
}

/** Refuses a storage that is not empty, except for what an earlier beginning left. */
async function checkEmpty(storage: Storage, header: unknown): Promise<void> {
  for await (const { name } of objectsOf(storage, ''))
    if (!BEGUN.test(name))
      throw new BackupError(
        header === 2
          ? `${storage.location} is a backup whose keys are gone: it has no openers`
          : `${storage.location} is not empty and not a backup; name an empty or a new folder`,
      );
}
