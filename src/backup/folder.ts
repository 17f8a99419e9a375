import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BackupError, Format, type Snapshot } from './format.js';

const HEADER = 'bkv-backup.json';

/** 20261125T104233123Z-0123456789abcdef: a time in UTC to the millisecond, and what tells it from others. */
const SNAPSHOT = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z-[0-9a-f]{16}$/;

const timeOf = (snapshot: string): number => Date.parse(snapshot.replace(SNAPSHOT, '$1-$2-$3T$4:$5:$6.$7Z'));

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** Whole or not at all, and on disk when it returns. */
async function writeWhole(path: string, chunks: readonly Uint8Array[]): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writev(chunks as Uint8Array[]);
    await file.datasync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

/** A backup in a folder: its header, parts and snapshots, as bytes. */
export class BackupFolder {
  private constructor(
    readonly path: string,
    readonly format: Format,
    /** tells this backup from others: 16 hexadecimal digits */
    readonly id: string,
  ) {}

  /** Opens a backup, or begins one where the folder is missing or empty. @throws BackupError */
  static async openOrCreate(path: string, backupKey: Uint8Array): Promise<BackupFolder> {
    if (!(await exists(join(path, HEADER)))) {
      const present = await readdir(path).catch(() => []);
      if (present.length > 0)
        throw new BackupError(`${path} is not empty and not a backup; name an empty or a new folder`);
      const header = { format: 'bkv-backup', version: 1, salt: randomBytes(32).toString('base64url') };
      await writeWhole(join(path, HEADER), [Buffer.from(`${JSON.stringify(header)}\n`)]);
    }
    return BackupFolder.open(path, backupKey);
  }

  /** @throws BackupError */
  static async open(path: string, backupKey: Uint8Array): Promise<BackupFolder> {
    const text = await readFile(join(path, HEADER), 'utf8').catch(() => {
      throw new BackupError(`${path} is not a backup: it has no ${HEADER}`);
    });
    let header: { format?: unknown; version?: unknown; salt?: unknown };
    try {
      header = JSON.parse(text);
    } catch {
      throw new BackupError(`${join(path, HEADER)} is damaged: it is not JSON`);
    }
    if (header.format !== 'bkv-backup' || header.version !== 1 || typeof header.salt !== 'string') {
      throw new BackupError(`${path} is a backup of a version that this program does not know`);
    }
    const salt = Buffer.from(header.salt, 'base64url');
    const id = createHash('sha256').update(salt).digest('hex').slice(0, 16);
    return new BackupFolder(path, new Format(backupKey, salt), id);
  }

  /** Stores a part, unless it is there. @returns its name */
  async putPart(plaintext: Uint8Array): Promise<string> {
    const name = this.format.partName(plaintext);
    const path = this.#part(name);
    if (!(await exists(path))) await writeWhole(path, this.format.sealPart(name, plaintext));
    return name;
  }

  /** @throws BackupError when it is missing or damaged */
  async getPart(name: string): Promise<Buffer> {
    const sealed = await readFile(this.#part(name)).catch(() => {
      throw new BackupError(`part ${name} is missing`);
    });
    return this.format.openPart(name, sealed);
  }

  hasPart(name: string): Promise<boolean> {
    return exists(this.#part(name));
  }

  /** Names of all parts, and when each was written, milliseconds. */
  async *parts(): AsyncGenerator<{ name: string; written: number }> {
    const root = join(this.path, 'parts');
    for (const shelf of await readdir(root).catch(() => []))
      for (const name of await readdir(join(root, shelf)))
        if (/^[0-9a-f]{64}$/.test(name))
          yield { name, written: (await stat(join(root, shelf, name))).mtimeMs };
  }

  async deletePart(name: string): Promise<void> {
    await unlink(this.#part(name));
  }

  /** Stores a snapshot under a name that sorts behind those before, also when the clock was put back. */
  async putSnapshot(content: Omit<Snapshot, 'created'>): Promise<string> {
    const newest = (await this.snapshots()).at(-1);
    const created = new Date(Math.max(Date.now(), newest ? timeOf(newest) + 1 : 0)).toISOString();
    const name = `${created.replace(/[-:.]/g, '')}-${randomBytes(8).toString('hex')}`;
    await writeWhole(join(this.path, 'snapshots', name), [
      this.format.sealSnapshot(name, { created, ...content }),
    ]);
    return name;
  }

  /** Names of the finished snapshots, oldest first. */
  async snapshots(): Promise<string[]> {
    const names = await readdir(join(this.path, 'snapshots')).catch(() => []);
    return names.filter((name) => SNAPSHOT.test(name)).sort();
  }

  /** @throws BackupError when it is damaged, of another key, or not the one that its name says */
  async snapshot(name: string): Promise<Snapshot> {
    return this.format.openSnapshot(name, await readFile(join(this.path, 'snapshots', name)));
  }

  async deleteSnapshot(name: string): Promise<void> {
    await unlink(join(this.path, 'snapshots', name));
  }

  #part(name: string): string {
    if (!/^[0-9a-f]{64}$/.test(name)) throw new BackupError('a manifest names a part that cannot be');
    return join(this.path, 'parts', name.slice(0, 2), name);
  }
}
