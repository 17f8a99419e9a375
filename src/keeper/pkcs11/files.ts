import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { inHome } from '../../process/index.js';
import { TokenError } from './errors.js';

/**
 * What a software token keeps in files. SoftHSM2 2.6.1 neither syncs what it writes nor looks whether a write failed:
 * what is believed of its objects is believed of the files.
 */
export const TOKEN = 'token.object';
const COPY = 'token.copy';

/**
 * The folder in which SoftHSM2 keeps its tokens, as its configuration says (`directories.tokendir`).
 * @throws TokenError when there is no configuration, or no such folder
 */
export function softhsmFolder(): string {
  const places = [
    process.env.SOFTHSM2_CONF,
    inHome('.config', 'softhsm2', 'softhsm2.conf'),
    '/etc/softhsm/softhsm2.conf',
  ];
  const conf = places.find((place) => place !== undefined && existsSync(place));
  const folder = conf && /^\s*directories\.tokendir\s*=\s*(.+?)\s*$/m.exec(readFileSync(conf, 'utf8'))?.[1];
  if (folder && existsSync(folder)) return folder;
  throw new TokenError(
    `SoftHSM2 has no folder for its tokens: make ${folder ?? 'its configuration, which SOFTHSM2_CONF names'}`,
    'BKV_FILES',
  );
}

/** Folders of the tokens in one of {@link softhsmFolder}, and not others, such as `lost+found`. */
export const tokensIn = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(folder, name))
    .filter((token) => [TOKEN, COPY].some((name) => existsSync(join(token, name))));

const read = (path: string): Buffer | undefined => (existsSync(path) ? readFileSync(path) : undefined);

/** Bytes of a value of each kind that SoftHSM2 writes into an object file; `undefined` where the length comes first. */
const LENGTHS: Readonly<Record<number, number | undefined>> = { 1: 1, 2: 8, 3: undefined };

/** Whether an object file of SoftHSM2 is complete: a counter, then type, kind and value of each attribute (u64 each). */
function isWhole(file: Buffer | undefined): file is Buffer {
  if (!file || file.length <= 8) return false;
  let at = 8;
  while (at < file.length) {
    if (at + 24 > file.length && at + 17 !== file.length) return false;
    const kind = Number(file.readBigUInt64BE(at + 8));
    if (!(kind in LENGTHS)) return false;
    at += 16 + (LENGTHS[kind] ?? 8 + Number(file.readBigUInt64BE(at + 16)));
  }
  return at === file.length;
}

/** The first eight bytes count how often the file was written. */
const isSame = (file: Buffer, copy: Buffer | undefined): boolean =>
  copy?.subarray(8).equals(file.subarray(8)) ?? false;

/** The file of a token, or its copy where a login is just writing it again. @throws TokenError when neither is complete */
export function readToken(token: string): Buffer {
  const whole = [read(join(token, TOKEN)), read(join(token, COPY))].find(isWhole);
  if (whole) return whole;
  throw new TokenError(`${join(token, TOKEN)} is damaged, and there is no copy of it`, 'BKV_FILES');
}

/**
 * Each login has SoftHSM2 empty the file of the token itself and write it again; on a full disk, or cut off there, the
 * token is lost with everything in it. So a copy lies beside it before anybody logs in.
 * @throws TokenError when there is no room for one
 */
export function copyTokens(folder: string): void {
  restoreTokens(folder);
  for (const token of tokensIn(folder)) {
    const file = read(join(token, TOKEN));
    if (!isWhole(file) || isSame(file, read(join(token, COPY)))) continue;
    try {
      writeFileSync(join(token, `${COPY}.new`), file, { mode: 0o600 });
      sync(join(token, `${COPY}.new`));
      renameSync(join(token, `${COPY}.new`), join(token, COPY));
      sync(token);
    } catch (error) {
      throw new TokenError(
        `the token cannot be opened safely: no copy of ${join(token, TOKEN)} can be written (${(error as Error).message})`,
        'BKV_NOT_WRITTEN',
      );
    }
  }
}

/** Puts the copy of {@link copyTokens} in the place of a token's file that a login has damaged; takes no room. */
export function restoreTokens(folder: string): void {
  for (const token of tokensIn(folder)) {
    const copy = read(join(token, COPY));
    const file = read(join(token, TOKEN));
    if (!isWhole(copy) || (isWhole(file) && file.length >= copy.length)) continue;
    renameSync(join(token, COPY), join(token, TOKEN));
    sync(token);
  }
}

/** Removes objects behind the module's back, which then is to be reopened. @throws when one of them stays */
export function removeObjects(paths: Iterable<string>): void {
  for (const path of paths)
    for (const file of [path, path.replace(/\.object$/, '.lock')]) rmSync(file, { force: true });
}

/**
 * Puts a copy in the place of a file that the system may show though it never reached the disk: of a failed sync it tells
 * once, and a second one says nothing of it.
 * @returns whether the file is there
 */
export function writeAnew(path: string): boolean {
  if (!existsSync(path)) return false;
  const copy = `${path}.new`;
  writeFileSync(copy, readFileSync(path), { mode: statSync(path).mode });
  sync(copy);
  renameSync(copy, path);
  return true;
}

/** @returns whether the file is there: one that is gone meanwhile is not an error */
export function sync(path: string): boolean {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  try {
    fsyncSync(file);
    return true;
  } finally {
    closeSync(file);
  }
}
