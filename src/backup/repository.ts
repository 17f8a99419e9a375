import { bytesToHex, randomBytes } from '@noble/hashes/utils.js';
import type { Storage } from '../storage/index.js';
import { BackupError, Format, type FormatOf, type Snapshot, TAG_BYTES } from './format.js';

const HEADER = 'bkv-backup.json';

/** 20261125T104233123Z-0123456789abcdef: a time in UTC to the millisecond, and what tells it from others. */
const SNAPSHOT = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z-[0-9a-f]{16}$/;
const PART = /^[0-9a-f]{64}$/;

const timeOf = (snapshot: string): number => Date.parse(snapshot.replace(SNAPSHOT, '$1-$2-$3T$4:$5:$6.$7Z'));
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const lastSegment = (name: string): string => name.slice(name.lastIndexOf('/') + 1);

/** A backup in a storage: its header, parts and snapshots. */
export class Repository {
  private constructor(
    readonly storage: Storage,
    readonly format: Format,
  ) {}

  /** Opens a backup, or begins one where the storage is empty. @throws BackupError, StorageError */
  static async openOrCreate(
    storage: Storage,
    backupKey: Uint8Array,
    formatOf?: FormatOf,
  ): Promise<Repository> {
    if ((await storage.size(HEADER)) === undefined) {
      for await (const _ of storage.list(''))
        throw new BackupError(
          `${storage.location} is not empty and not a backup; name an empty or a new folder`,
        );
      const salt = btoa(String.fromCharCode(...randomBytes(32)))
        .replace(/\+/g, '-')
        .replace(/\//g, '_')
        .replace(/=+$/, '');
      const header = { format: 'bkv-backup', version: 1, salt };
      await storage.write(HEADER, bytesOf(`${JSON.stringify(header)}\n`));
    }
    return Repository.open(storage, backupKey, formatOf);
  }

  /** @throws BackupError, StorageError */
  static async open(
    storage: Storage,
    backupKey: Uint8Array,
    formatOf: FormatOf = Format.of,
  ): Promise<Repository> {
    const content = await storage.read(HEADER);
    if (!content) throw new BackupError(`${storage.location} is not a backup: it has no ${HEADER}`);
    let header: { format?: unknown; version?: unknown; salt?: unknown };
    try {
      header = JSON.parse(new TextDecoder().decode(content));
    } catch {
      throw new BackupError(`${HEADER} of ${storage.location} is damaged: it is not JSON`);
    }
    if (header.format !== 'bkv-backup' || header.version !== 1 || typeof header.salt !== 'string')
      throw new BackupError(`${storage.location} is a backup of a version that this program does not know`);
    const salt = atob(header.salt.replace(/-/g, '+').replace(/_/g, '/'));
    const format = await formatOf(
      backupKey,
      Uint8Array.from(salt, (char) => char.charCodeAt(0)),
    );
    return new Repository(storage, format);
  }

  /** Stores a part, unless it is there whole; its buffer is used up. @returns its name */
  async putPart(plaintext: Uint8Array): Promise<string> {
    const name = await this.format.partName(plaintext);
    const path = partPath(name);
    if ((await this.storage.size(path)) !== plaintext.length + TAG_BYTES)
      await this.storage.write(path, await this.format.sealPart(name, plaintext));
    return name;
  }

  /**
   * @param into memory that may be used for it: a buffer of the format
   * @throws BackupError when it is missing or damaged; StorageError
   */
  async getPart(name: string, into?: Uint8Array): Promise<Uint8Array> {
    const sealed = await this.storage.read(partPath(name), into);
    if (!sealed) throw new BackupError(`part ${name} is missing`);
    return this.format.openPart(name, sealed);
  }

  async hasPart(name: string): Promise<boolean> {
    return (await this.storage.size(partPath(name))) !== undefined;
  }

  /** Names of all parts, and when each was written, milliseconds. */
  async *parts(): AsyncGenerator<{ name: string; written: number }> {
    for await (const { name, written } of this.storage.list('parts'))
      if (PART.test(lastSegment(name))) yield { name: lastSegment(name), written };
  }

  deletePart(name: string): Promise<void> {
    return this.storage.delete(partPath(name));
  }

  /** Stores a snapshot under a name that sorts behind those before, also when the clock was put back. */
  async putSnapshot(content: Omit<Snapshot, 'created'>): Promise<string> {
    const newest = (await this.snapshots()).at(-1);
    const created = new Date(Math.max(Date.now(), newest ? timeOf(newest) + 1 : 0)).toISOString();
    const name = `${created.replace(/[-:.]/g, '')}-${bytesToHex(randomBytes(8))}`;
    const sealed = await this.format.sealSnapshot(name, { created, ...content });
    // It names parts: they are on the disk before it.
    await this.storage.flush();
    await this.storage.write(`snapshots/${name}`, sealed);
    await this.storage.flush();
    return name;
  }

  /** Names of the finished snapshots, oldest first. */
  async snapshots(): Promise<string[]> {
    const names: string[] = [];
    for await (const { name } of this.storage.list('snapshots')) names.push(lastSegment(name));
    return names.filter((name) => SNAPSHOT.test(name)).sort();
  }

  /** @throws BackupError when it is missing, damaged, of another key, or not the one that its name says */
  async snapshot(name: string): Promise<Snapshot> {
    const sealed = await this.storage.read(`snapshots/${name}`);
    if (!sealed) throw new BackupError(`snapshot ${name} is missing`);
    return this.format.openSnapshot(name, sealed);
  }

  deleteSnapshot(name: string): Promise<void> {
    return this.storage.delete(`snapshots/${name}`);
  }
}

function partPath(name: string): string {
  if (!PART.test(name)) throw new BackupError('a manifest names a part that cannot be');
  return `parts/${name.slice(0, 2)}/${name}`;
}
