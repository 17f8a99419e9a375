import { chmod, lstat, mkdir, open, readdir, readlink, symlink, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BackupFolder } from './folder.js';
import { BackupError, type Content, type Entry, PART_BYTES } from './format.js';

/** Called as bytes are done; `total` is known from the start. */
export type Progress = (done: number, total: number) => void;

export interface Summary {
  readonly files: number;
  readonly bytes: number;
}

/** Puts contents one behind the other into parts; tells each content's place when its parts are stored. */
class Packer {
  readonly #buffer = Buffer.allocUnsafe(PART_BYTES);
  #length = 0;
  #waiting: ((name: string) => void)[] = [];

  constructor(
    readonly folder: BackupFolder,
    readonly onPart: (name: string, length: number) => void | Promise<void> = () => undefined,
  ) {}

  /** Room until the part is full. Fill it and call {@link commit}. */
  room(): Buffer {
    return this.#buffer.subarray(this.#length);
  }

  async commit(length: number, place: (content: Content) => void): Promise<void> {
    const offset = this.#length;
    this.#length += length;
    this.#waiting.push((name) => place([name, offset, length]));
    if (this.#length === PART_BYTES) await this.flush();
  }

  async flush(): Promise<void> {
    if (this.#length === 0) return;
    const name = await this.folder.putPart(this.#buffer.subarray(0, this.#length));
    for (const place of this.#waiting) place(name);
    await this.onPart(name, this.#length);
    this.#length = 0;
    this.#waiting = [];
  }

  wipe(): void {
    this.#buffer.fill(0);
  }
}

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

/**
 * Encrypts a folder into a backup, in constant memory.
 * @param backupKey 32 bytes
 * @throws BackupError
 */
export async function backup(
  source: string,
  destination: string,
  backupKey: Uint8Array,
  progress: Progress = () => undefined,
): Promise<Summary> {
  const root = await lstat(source).catch(() => undefined);
  if (!root?.isDirectory()) throw new BackupError(`${source} is not a folder`);
  let total = 0;
  for await (const entry of walk(source)) if (entry.type === 'file') total += entry.size;

  const folder = await BackupFolder.openOrCreate(destination, backupKey);
  const manifestParts: [string, number][] = [];
  const manifest = new Packer(folder, (name, length) => {
    manifestParts.push([name, length]);
  });
  const pending: Entry[] = [];
  const writeEntries = async () => {
    for (const entry of pending.splice(0)) await put(manifest, Buffer.from(`${JSON.stringify(entry)}\n`));
  };
  const data = new Packer(folder, async () => {
    // The last one may still be growing: its later parts are not stored yet.
    const growing = pending.pop();
    await writeEntries();
    if (growing) pending.push(growing);
  });

  let files = 0;
  let bytes = 0;
  for await (const entry of walk(source)) {
    pending.push(entry);
    if (entry.type !== 'file') continue;
    files++;
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
  await manifest.flush();
  data.wipe();
  manifest.wipe();
  await folder.putSnapshot({ created: new Date().toISOString(), files, bytes, manifest: manifestParts });
  return { files, bytes };
}

async function put(packer: Packer, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const room = packer.room();
    const piece = bytes.subarray(at, at + room.length);
    room.set(piece);
    at += piece.length;
    await packer.commit(piece.length, () => undefined);
  }
}

async function* readManifest(
  folder: BackupFolder,
  parts: readonly (readonly [string, number])[],
): AsyncGenerator<Entry> {
  let rest = Buffer.alloc(0);
  for (const [name] of parts) {
    const text = Buffer.concat([rest, await folder.getPart(name)]);
    let start = 0;
    for (let end = text.indexOf(10); end >= 0; end = text.indexOf(10, start)) {
      yield JSON.parse(text.subarray(start, end).toString()) as Entry;
      start = end + 1;
    }
    rest = text.subarray(start);
  }
}

/**
 * Restores the newest backup into a new or empty folder, in constant memory.
 * @param backupKey 32 bytes
 * @throws BackupError when something is damaged or missing, or the key is another's
 */
export async function restore(
  source: string,
  destination: string,
  backupKey: Uint8Array,
  progress: Progress = () => undefined,
): Promise<Summary> {
  const folder = await BackupFolder.open(source, backupKey);
  const snapshot = await folder.latestSnapshot();
  const present = await readdir(destination).catch(() => []);
  if (present.length > 0) throw new BackupError(`${destination} is not empty; name an empty or a new folder`);
  await mkdir(destination, { recursive: true });

  let bytes = 0;
  let cached: { name: string; plaintext: Buffer } | undefined;
  const directories: Extract<Entry, { type: 'directory' }>[] = [];
  for await (const entry of readManifest(folder, snapshot.manifest)) {
    const path = safePath(destination, entry.path);
    if (entry.type === 'directory') {
      await mkdir(path, { recursive: true });
      directories.push(entry);
      continue;
    }
    await mkdir(dirname(path), { recursive: true });
    if (entry.type === 'symlink') {
      await symlink(entry.target, path);
      continue;
    }
    const file = await open(path, 'wx', 0o600);
    try {
      for (const [name, offset, length] of entry.content) {
        if (cached?.name !== name) cached = { name, plaintext: await folder.getPart(name) };
        const piece = cached.plaintext.subarray(offset, offset + length);
        if (piece.length !== length)
          throw new BackupError(`${entry.path}: part ${name} is shorter than the manifest says`);
        await file.write(piece);
        bytes += length;
        progress(bytes, snapshot.bytes);
      }
    } finally {
      await file.close();
    }
    await chmod(path, entry.mode);
    await utimes(path, entry.mtime / 1000, entry.mtime / 1000);
  }
  // Last and from the inside out: writing into a folder changes its time, and its mode may forbid it.
  for (const { path, mode, mtime } of directories.reverse()) {
    await chmod(join(destination, path), mode);
    await utimes(join(destination, path), mtime / 1000, mtime / 1000);
  }
  return { files: snapshot.files, bytes };
}

function safePath(destination: string, path: string): string {
  if (
    path.split('/').some((segment) => segment === '' || segment === '.' || segment === '..') ||
    path.includes('\0')
  ) {
    throw new BackupError('the manifest names a path outside of the backup');
  }
  return join(destination, path);
}
