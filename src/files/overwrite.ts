import type { Stats } from 'node:fs';
import type { FileEntry, SymlinkEntry } from '../backup/index.js';

/** What happens to a file that already exists. */
export type Overwrite = 'never' | 'older' | 'always';

export interface Existing {
  /** without it the folder must be empty or new */
  readonly overwrite?: Overwrite;
  /** continues an interrupted restore: complete files stay */
  readonly resume?: boolean;
}

/**
 * Whether an entry replaces an existing file. @throws when it must not, although nobody asked to keep the
 * file
 */
export function replaces(
  there: Stats,
  { type, path, mtime, ...rest }: FileEntry | SymlinkEntry,
  { overwrite, resume }: Existing,
): boolean {
  if (there.isDirectory()) throw new Error('a folder is in its place');
  const size = 'size' in rest ? rest.size : there.size;
  const same =
    Math.abs(there.mtimeMs - mtime) < 1 && there.size === size && there.isFile() === (type === 'file');
  if (overwrite === 'always') return true;
  if (overwrite === 'older') return there.mtimeMs < mtime - 1;
  if (overwrite === 'never' || (resume && same)) return false;
  throw new Error(`${path} already exists and differs; it was kept (to replace it: --overwrite always)`);
}
