import { existsSync, linkSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { readToken, softhsmFolder, sync, TOKEN, tokensIn, writeAnew } from './files.js';

const VIEW = 'witness.';
/**
 * A file whose number tells SoftHSM2 whether objects have come or gone. If the file has no number, SoftHSM2
 * looks; if there is no file, it complains to syslog.
 */
const GENERATION = 'generation';
/** A file that is older than this, in milliseconds, has reached the disk by itself. */
const YOUNG = 60_000;
const isObject = (name: string): boolean => name.endsWith('.object') && name !== TOKEN;

/** Files that the system shows, and that a power cut would lose. A second sync would not report that the first one failed. */
export class Unsynced extends Error {
  /** @param objects files of new objects */
  constructor(
    cause: NodeJS.ErrnoException,
    readonly objects: readonly string[],
  ) {
    super(`not on the disk: ${cause.message}`, { cause });
  }
}

/**
 * The witness's view of SoftHSM2's tokens. It shows only the objects that have come since the last look; the
 * first look shows those of the last minute. SoftHSM2 opens every object of a token to find one. With the
 * view a look costs the same, however many objects there are.
 *
 * The view is a folder within a token's own folder: SoftHSM2 does not look there, and it is sure to have room
 * and the right owner. During a look it holds links to the new objects, and otherwise nothing, so that no
 * link keeps a destroyed key alive.
 */
export class View {
  readonly #tokens: readonly string[];
  /** objects that were there when it began */
  readonly #older: ReadonlySet<string>;
  /** those of them that could not be synced, and are shown nevertheless */
  readonly #failed = new Set<string>();
  readonly #folder: string;
  readonly #known: Map<string, ReadonlySet<string>>;

  /**
   * Makes this process's module find the view instead of the tokens, until {@link entered}. @throws
   * TokenError
   */
  constructor() {
    this.#tokens = tokensIn(softhsmFolder());
    for (const token of this.#tokens) removeLeftOver(token);
    this.#older = new Set(this.#tokens.flatMap((token) => objectsOf(token).map((name) => join(token, name))));
    this.#known = new Map(
      this.#tokens.map((token) => [
        token,
        new Set(objectsOf(token).filter((name) => isOld(join(token, name)))),
      ]),
    );
    this.#folder = join(this.#tokens[0] ?? softhsmFolder(), `${VIEW}${process.pid}`);
    for (const token of this.#tokens) {
      mkdirSync(this.#of(token), { recursive: true, mode: 0o700 });
      // A login writes this file again, so it must not be a link.
      writeFileSync(join(this.#of(token), TOKEN), readToken(token), { mode: 0o600 });
    }
    const conf = join(this.#folder, 'softhsm2.conf');
    writeFileSync(conf, `directories.tokendir = ${this.#folder}\nlog.level = ERROR\n`);
    process.env.SOFTHSM2_CONF = conf;
  }

  /** The module is logged in, and no longer asks for the files of the tokens. */
  entered(): void {
    rmSync(this.#folder, { recursive: true });
  }

  /**
   * Syncs the objects that have come or gone since the last time, and shows the module those that have come.
   * @param all whether older objects are shown too
   * @throws Unsynced
   */
  during<T>(look: () => T, all = false): T {
    const listed = this.#tokens.map((token) => ({ token, names: new Set(objectsOf(token)) }));
    this.#clear();
    try {
      for (const { token, names } of listed) this.#show(token, names, all);
      const seen = look();
      for (const { token, names } of listed) this.#known.set(token, names);
      return seen;
    } finally {
      try {
        this.#clear();
      } catch {
        // The next look tries again. The result of this look matters more.
      }
    }
  }

  #clear(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #show(token: string, names: ReadonlySet<string>, all: boolean): void {
    const known = this.#known.get(token) ?? new Set();
    const come = [...names].filter((name) => !known.has(name));
    const there = come.filter((name) => this.#sync(join(token, name), [join(token, name)]));
    mkdirSync(this.#of(token), { recursive: true, mode: 0o700 });
    writeFileSync(join(this.#of(token), GENERATION), '', { mode: 0o600 });
    for (const name of all ? names : there) link(join(token, name), join(this.#of(token), name));
    const paths = come.map((name) => join(token, name));
    if (come.length > 0 || names.size !== known.size) this.#sync(token, paths);
  }

  /** @param objects those that are lost with it, except those that another sync has saved before */
  #sync(path: string, objects: readonly string[]): boolean {
    try {
      return this.#older.has(path) ? this.#syncOlder(path) : sync(path);
    } catch (error) {
      throw new Unsynced(
        error as NodeJS.ErrnoException,
        objects.filter((object) => !this.#older.has(object)),
      );
    }
  }

  /**
   * The token may depend on the object. So if it cannot be synced, it is not removed, but written again until
   * it can.
   */
  #syncOlder(path: string): boolean {
    try {
      if (!this.#failed.has(path)) return sync(path);
    } catch {
      this.#failed.add(path);
    }
    const isThere = writeAnew(path);
    this.#failed.delete(path);
    return isThere;
  }

  #of(token: string): string {
    return join(this.#folder, basename(token));
  }
}

/** Links an object, unless it has gone meanwhile: others destroy theirs at any time. */
function link(object: string, path: string): void {
  try {
    linkSync(object, path);
  } catch (error) {
    if (existsSync(object)) throw error;
  }
}

/** The process whose view, or whose file on the way to its place, a name is. */
const ownerOf = (name: string): number | undefined => {
  const [, viewer, writer] = /^witness\.(\d+)$|\.(\d+)-\d+\.new$/.exec(name) ?? [];
  return viewer === undefined && writer === undefined ? undefined : Number(viewer ?? writer);
};

const objectsOf = (token: string): string[] => readdirSync(token).filter(isObject);
const isOld = (path: string): boolean =>
  Math.abs(Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0)) > YOUNG;

/**
 * Removes what a kill left behind: views, and files on the way to their place. Those of other processes that are at work
 * stay. None of these lasts for a minute, so an older one whose process seems to live is another process's.
 */
function removeLeftOver(token: string): void {
  for (const name of readdirSync(token)) {
    const owner = ownerOf(name);
    if (owner === undefined || (lives(owner) && !isOld(join(token, name)))) continue;
    rmSync(join(token, name), { recursive: true, force: true });
  }
}

/** Whether a process of this number runs, other than this one. */
function lives(pid: number): boolean {
  try {
    return pid !== process.pid && process.kill(pid, 0);
  } catch (error) {
    // It may belong to another user.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
