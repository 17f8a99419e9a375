import { concatBytes } from '@noble/hashes/utils.js';
import { PART_BYTES } from './cipher.js';
import { V1 } from './epoch.js';
import { BackupError } from './errors.js';
import type { Entry, FileEntry, Part, Piece, Snapshot } from './format.js';
import { comparePaths } from './paths.js';
import type { Repository } from './repository.js';

/** How many lists are read ahead. */
const AHEAD = 3;

/** A list of files as it is stored. */
export type Listed = Snapshot['list'][number];

/** Is told about a list that cannot be read, and the rest follows. Without it, such a list throws. */
export type OnDamage = (error: BackupError) => void;

async function attempt<T>(
  onDamage: OnDamage | undefined,
  work: () => Promise<T> | T,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!onDamage || !(error instanceof BackupError)) throw error;
    onDamage(error);
    return undefined;
  }
}

/** Lists with their content, which is `undefined` if it is damaged. Some are read ahead. */
async function* readLists(
  repository: Repository,
  lists: readonly Listed[],
  onDamage?: OnDamage,
): AsyncGenerator<{ part: Part; plaintext: Uint8Array | undefined }> {
  const read = (at: number) => {
    const next = lists[at];
    const reading = next && attempt(onDamage, () => repository.getPart(next.part));
    reading?.catch(() => undefined);
    return reading;
  };
  const ahead = lists.slice(0, AHEAD).map((_, i) => read(i));
  for (const [i, { part }] of lists.entries()) {
    const plaintext = await ahead.shift();
    ahead.push(read(i + AHEAD));
    yield { part, plaintext };
  }
}

/**
 * The entries of a snapshot, in their order.
 * @param wanted decides whether a list is read, by its first path and that of the next list
 * @throws BackupError, StorageError
 */
export async function* readEntries(
  repository: Repository,
  { list, version }: Pick<Snapshot, 'list' | 'version'>,
  onDamage?: OnDamage,
  wanted: (first: string, next: string | undefined) => boolean = () => true,
): AsyncGenerator<Entry> {
  const lists = version === 1 ? list : list.filter(({ first = '' }, i) => wanted(first, list[i + 1]?.first));
  const parser = version === 1 ? new V1Parser() : new Parser();
  for await (const { part, plaintext } of readLists(repository, lists, onDamage))
    yield* (await attempt(onDamage, () => parser.entries(plaintext, part.epoch))) ?? [];
  yield* parser.end();
}

/** The parts that each list of a snapshot names, without those of damaged lists. @throws BackupError, StorageError */
export async function* readParts(
  repository: Repository,
  { list, version }: Pick<Snapshot, 'list' | 'version'>,
  onDamage?: OnDamage,
): AsyncGenerator<{ list: Part; parts: readonly Part[] }> {
  const v1 = version === 1 ? new V1Parser() : undefined;
  for await (const { part, plaintext } of readLists(repository, list, onDamage)) {
    const parts = await attempt(onDamage, () =>
      v1 ? partsUsed(v1.entries(plaintext)) : partsNamed(plaintext, part.epoch),
    );
    if (plaintext && parts) yield { list: part, parts };
  }
}

const partsUsed = (entries: readonly Entry[]): Part[] =>
  entries.flatMap((entry) => (entry.type === 'file' ? entry.content.flatMap(({ part }) => part ?? []) : []));

/** The parts that the first line of a list names. */
function partsNamed(list: Uint8Array | undefined, epoch: string): Part[] {
  for (const line of list ? lines(list) : []) return partsOf(parse(line), epoch);
  return [];
}

/** Makes entries of the lists of a snapshot, one after the other. */
class Parser {
  /** a file whose pieces may go on in the next line */
  #file: FileEntry | undefined;

  /** @param list `undefined` when it is damaged @throws BackupError */
  entries(list: Uint8Array | undefined, epoch: string): Entry[] {
    const entries: Entry[] = [];
    let parts: Part[] | undefined;
    for (const line of list ? lines(list) : []) {
      const value = parse(line);
      if (!parts) parts = partsOf(value, epoch);
      else if ('more' in value) this.#file?.content.push(...piecesOf(value.more, parts));
      else {
        entries.push(...this.end());
        const entry = entryOf(value);
        if (entry.type === 'file') {
          entry.content = piecesOf(entry.content, parts);
          this.#file = entry;
        } else entries.push(entry);
      }
    }
    return entries;
  }

  end(): Entry[] {
    const file = this.#file;
    this.#file = undefined;
    return file ? [file] : [];
  }
}

/** The same for version 1, where an entry may begin in one part and end in the next. */
class V1Parser {
  /** the beginning of a line; `undefined` when it is lost */
  #rest: Uint8Array | undefined = new Uint8Array();

  entries(list: Uint8Array | undefined): Entry[] {
    if (!list) {
      this.#rest = undefined;
      return [];
    }
    const first = list.indexOf(NEWLINE);
    if (first < 0) {
      this.#rest = this.#rest && concatBytes(this.#rest, list);
      return [];
    }
    const whole: Uint8Array = this.#rest ? concatBytes(this.#rest, list) : list.subarray(first + 1);
    this.#rest = whole.subarray(whole.lastIndexOf(NEWLINE) + 1);
    const parts = new Map<unknown, Part>();
    return [...lines(whole)].map((line) => {
      const entry = entryOf({ mtime: 0, ...parse(line) });
      if (entry.type === 'file')
        entry.content = (entry.content as unknown as unknown[][]).map(([name, offset, length]) => {
          const part = parts.get(name) ?? { ...partOf([name, 0], V1), length: undefined };
          parts.set(name, part);
          return { part, offset: Number(offset), length: Number(length) };
        });
      return entry;
    });
  }

  end(): Entry[] {
    return [];
  }
}

const NEWLINE = 10;

function* lines(plaintext: Uint8Array): Generator<string> {
  const decoder = new TextDecoder();
  let start = 0;
  for (let end = plaintext.indexOf(NEWLINE); end >= 0; end = plaintext.indexOf(NEWLINE, start)) {
    yield decoder.decode(plaintext.subarray(start, end));
    start = end + 1;
  }
}

function parse(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {}
  throw new BackupError('the list of files is not as the format says');
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const NAME = /^[0-9a-f]{64}$/;

/** @throws BackupError when it is not a part */
export function partOf([name, length, epoch]: readonly unknown[], own: string): Part {
  const of = epoch ?? own;
  if (typeof name === 'string' && NAME.test(name) && isCount(length) && length <= PART_BYTES)
    if (typeof of === 'string') return { name, length, epoch: of };
  throw new BackupError('the list of files names an impossible part');
}

function partsOf({ parts }: Record<string, unknown>, own: string): Part[] {
  if (!Array.isArray(parts)) throw new BackupError('the list of files does not name its parts');
  return parts.map((row) => partOf(row as unknown[], own));
}

function piecesOf(rows: unknown, parts: readonly Part[]): Piece[] {
  if (!Array.isArray(rows)) throw new BackupError('the list of files has a file without content');
  return rows.map(([index, offset, length]: unknown[]) => {
    const part = parts[index as number];
    const within = isCount(offset) && isCount(length) && offset + length <= (part?.length ?? 0);
    if (!(index === -1 && isCount(length) && length <= PART_BYTES) && !within)
      throw new BackupError('the list of files names an impossible piece');
    return { part, offset: offset as number, length: length as number };
  });
}

const TYPES = ['file', 'directory', 'symlink'];

/** @throws BackupError when it lacks what every entry has */
function entryOf(value: Record<string, unknown>): Entry {
  const { path, type, mode, size, target, mtime, content } = value;
  const complete =
    typeof path === 'string' &&
    TYPES.includes(type as string) &&
    Number.isFinite(mtime) &&
    (type === 'symlink' ? typeof target === 'string' : isCount(mode)) &&
    (type !== 'file' || (isCount(size) && Array.isArray(content)));
  if (!complete) throw new BackupError('the list of files has an impossible entry');
  return value as unknown as Entry;
}

/** Whether a list may hold something within a path. */
export const mayHold = (first: string, next: string | undefined, path: string): boolean =>
  path === '' ||
  // The list ends before the path, or begins after everything below it.
  !(
    (next !== undefined && comparePaths(next, path) < 0) ||
    (comparePaths(first, path) > 0 && !first.startsWith(`${path}/`))
  );
