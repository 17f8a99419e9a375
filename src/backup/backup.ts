import { lstat, open, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { BackupFolder } from './folder.js';
import { BackupError, type Entry, PART_BYTES } from './format.js';
import { comparePaths, ManifestWriter, Packer, readManifest } from './manifest.js';

/** Called as bytes are done; `total` is known from the start. */
export type Progress = (done: number, total: number) => void;

export interface BackupSummary {
  readonly snapshot: string;
  readonly files: number;
  /** of all files together */
  readonly bytes: number;
  /** files that were read, since they are new or have changed */
  readonly changed: number;
}

type FileEntry = Extract<Entry, { type: 'file' }>;

/** Entries below a folder, sorted, folders before what they hold. */
async function* walk(root: string, below = ''): AsyncGenerator<Entry> {
  const names = (await readdir(join(root, below))).sort();
  for (const name of names) {
    const path = below ? `${below}/${name}` : name;
    const info = await lstat(join(root, path));
    const { mode, mtimeMs, size } = info;
    const common = { path, mode: mode & 0o777, mtime: Math.round(mtimeMs) };
    if (info.isDirectory()) {
      yield { ...common, type: 'directory' };
      yield* walk(root, path);
    } else if (info.isSymbolicLink())
      yield { path, type: 'symlink', target: await readlink(join(root, path)) };
    else if (info.isFile()) yield { ...common, type: 'file', size, content: [] };
  }
}

/** What the newest snapshot knows, asked in the order of the paths. */
class Before {
  readonly #folder: BackupFolder;
  readonly #entries: AsyncGenerator<Entry>;
  #next: Entry | undefined;
  readonly #there = new Map<string, boolean>();

  private constructor(folder: BackupFolder, entries: AsyncGenerator<Entry>) {
    this.#folder = folder;
    this.#entries = entries;
  }

  static async open(folder: BackupFolder): Promise<Before> {
    const newest = (await folder.snapshots()).at(-1);
    // What cannot be read of it is stored anew.
    const manifest = newest ? (await folder.snapshot(newest)).manifest : [];
    const before = new Before(
      folder,
      readManifest(folder, manifest, () => undefined),
    );
    await before.#advance();
    return before;
  }

  /** The file's content, when it is as it was and all its parts are still there. */
  async contentOf({ path, size, mtime }: FileEntry): Promise<FileEntry['content'] | undefined> {
    while (this.#next && comparePaths(this.#next.path, path) < 0) await this.#advance();
    const known = this.#next;
    if (known?.path !== path || known.type !== 'file' || known.size !== size || known.mtime !== mtime)
      return undefined;
    for (const [part] of known.content) {
      const there = this.#there.get(part) ?? (await this.#folder.hasPart(part));
      if (this.#there.size > 10_000) this.#there.clear();
      this.#there.set(part, there);
      if (!there) return undefined;
    }
    return known.content;
  }

  async #advance(): Promise<void> {
    this.#next = (await this.#entries.next()).value;
  }
}

/**
 * Encrypts a folder into a backup, in constant memory. Files whose size and time are as in the newest snapshot are not
 * read; parts that are there already are not written. Cut off, it leaves no snapshot, and the next run goes on with its
 * parts.
 * @param backupKey 32 bytes
 * @throws BackupError
 */
export async function backup(
  source: string,
  destination: string,
  backupKey: Uint8Array,
  progress: Progress = () => undefined,
): Promise<BackupSummary> {
  const root = await lstat(source).catch(() => undefined);
  if (!root?.isDirectory()) throw new BackupError(`${source} is not a folder`);
  let total = 0;
  for await (const entry of walk(source)) if (entry.type === 'file') total += entry.size;

  const folder = await BackupFolder.openOrCreate(destination, backupKey);
  const before = await Before.open(folder);
  const manifest = new ManifestWriter(folder);
  const pending: Entry[] = [];
  const writeEntries = async () => {
    for (const entry of pending.splice(0)) await manifest.write(entry);
  };
  const data = new Packer(folder, async () => {
    // The last one may still be growing: its later parts are not stored yet.
    const growing = pending.pop();
    await writeEntries();
    if (growing) pending.push(growing);
  });

  let [files, bytes, changed] = [0, 0, 0];
  for await (const entry of walk(source)) {
    pending.push(entry);
    if (entry.type !== 'file') continue;
    files++;
    const known = await before.contentOf(entry);
    if (known) {
      entry.content = known;
      bytes += entry.size;
      progress(bytes, Math.max(total, bytes));
      continue;
    }
    changed++;
    const { size, content } = entry;
    const file = await open(join(source, entry.path));
    try {
      // A file that fits into no rest of a part begins a part of its own, so that its parts are the same next time.
      if (size >= PART_BYTES) await data.flush();
      entry.size = 0;
      for (;;) {
        const { bytesRead } = await file.read(data.room());
        if (bytesRead === 0) break;
        entry.size += bytesRead;
        bytes += bytesRead;
        await data.commit(bytesRead, (place) => content.push(place));
        progress(bytes, Math.max(total, bytes));
      }
    } finally {
      await file.close();
    }
  }
  await data.flush();
  await writeEntries();
  await manifest.end();
  data.wipe();
  const snapshot = await folder.putSnapshot({ files, bytes, manifest: manifest.parts });
  return { snapshot, files, bytes, changed };
}
