import { comparePaths, type SourceEntry } from '../backup/index.js';

/** A chosen file, and the path that it has in the backup. */
export interface Chosen {
  readonly path: string;
  readonly file: File;
  /** whether it was renamed, because its name was taken */
  readonly renamed: boolean;
}

// Many disks treat names that differ only in case or Unicode composition as one, and the backup may be
// restored there.
const sameness = (path: string): string => path.normalize('NFC').toLowerCase();

const pathOf = (file: File): string => file.webkitRelativePath || file.name;

/** All folders in which a path lies: `a/b/c` in `a` and `a/b`. */
const foldersOf = (path: string): string[] =>
  path
    .split('/')
    .slice(0, -1)
    .map((_, i, segments) => segments.slice(0, i + 1).join('/'));

/** Gives each file a path of its own, with a number if the name is taken: `image.jpg`, `image (2).jpg`. */
export function choose(files: readonly File[]): Chosen[] {
  const taken = new Set(files.flatMap((file) => foldersOf(pathOf(file)).map(sameness)));
  return files.map((file) => {
    const wanted = pathOf(file);
    const [, stem, extension] = /^(.*?[^/])(\.[^./]*)?$/su.exec(wanted) as unknown as [
      string,
      string,
      string?,
    ];
    let path = wanted;
    for (let n = 2; taken.has(sameness(path)); n++) path = `${stem} (${n})${extension ?? ''}`;
    taken.add(sameness(path));
    return { path, file, renamed: path !== wanted };
  });
}

/** The chosen files as entries of a backup. */
export function entries(files: readonly Chosen[]): SourceEntry[] {
  return [...files]
    .sort((a, b) => comparePaths(a.path, b.path))
    .map(({ path, file }) => ({
      path,
      type: 'file',
      mode: 0o600,
      mtime: file.lastModified,
      size: file.size,
      open: async () => {
        let at = 0;
        return {
          read: async (into) => {
            const piece = new Uint8Array(await file.slice(at, at + into.length).arrayBuffer());
            into.set(piece);
            at += piece.length;
            return piece.length;
          },
          close: async () => undefined,
        };
      },
    }));
}

/** 1536 as "1.5 KB". */
export function size(bytes: number): string {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB'];
  const unit = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), 4);
  const amount = bytes / 1000 ** unit;
  return `${unit === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${units[unit]}`;
}
