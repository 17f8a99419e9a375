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
import { threadId } from 'node:worker_threads';
import { inHome } from '../../process/index.js';
import { TokenError } from './errors.js';

/**
 * The files of a software token. SoftHSM2 2.6.1 neither syncs what it writes nor checks whether a write
 * failed. So not its answers but its files show which objects exist.
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

/** The tokens' folders in {@link softhsmFolder}, without others such as `lost+found`. */
export const tokensIn = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(folder, name))
    .filter((token) => [TOKEN, COPY].some((name) => existsSync(join(token, name))));

const read = (path: string): Buffer | undefined => (existsSync(path) ? readFileSync(path) : undefined);

/**
 * Length of a value of each kind in SoftHSM2's object files; `undefined` if the value begins with its length.
 */
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

/**
 * The file of a token, or its copy while a login is rewriting it. @throws TokenError when neither is complete
 */
export function readToken(token: string): Buffer {
  const whole = [read(join(token, TOKEN)), read(join(token, COPY))].find(isWhole);
  if (whole) return whole;
  throw new TokenError(`${join(token, TOKEN)} is damaged, and there is no copy of it`, 'BKV_FILES');
}

/**
 * At each login SoftHSM2 empties the token's own file and writes it again. If the disk is full or the process
 * is cut off then, the token is lost with everything in it. So a copy is made before anybody logs in.
 * @throws TokenError when there is no room for one
 */
export function copyTokens(folder: string): void {
  restoreTokens(folder);
  for (const token of tokensIn(folder)) {
    const file = read(join(token, TOKEN));
    if (!isWhole(file) || isSame(file, read(join(token, COPY)))) continue;
    try {
      writeFileBeside(join(token, COPY), file, 0o600);
      sync(token);
    } catch (error) {
      throw new TokenError(
        `the token cannot be opened safely: no copy of ${join(token, TOKEN)} can be written (${(error as Error).message})`,
        'BKV_NOT_WRITTEN',
      );
    }
  }
}

/**
 * Replaces a token's file that a login has damaged by the copy of {@link copyTokens}; needs no disk space.
 */
export function restoreTokens(folder: string): void {
  for (const token of tokensIn(folder)) {
    const copy = read(join(token, COPY));
    const file = read(join(token, TOKEN));
    if (!isWhole(copy) || (isWhole(file) && file.length >= copy.length)) continue;
    renameSync(join(token, COPY), join(token, TOKEN));
    sync(token);
  }
}

/**
 * Removes objects behind the module's back; the module must be reopened afterwards. @throws when one of them
 * cannot be removed
 */
export function removeObjects(paths: Iterable<string>): void {
  for (const path of paths)
    for (const file of [path, path.replace(/\.object$/, '.lock')]) rmSync(file, { force: true });
}

/**
 * Replaces a file by a copy, because the system may show the file though it never reached the disk: a failed
 * sync is reported only once, and a second sync succeeds. @returns whether the file is there
 */
export function writeAnew(path: string): boolean {
  if (!existsSync(path)) return false;
  writeFileBeside(path, readFileSync(path), statSync(path).mode);
  return true;
}

/** Writes a file beside its place, under a name of this thread, syncs it, and puts it in its place. */
function writeFileBeside(path: string, content: Uint8Array, mode: number): void {
  const beside = `${path}.${process.pid}-${threadId}.new`;
  try {
    writeFileSync(beside, content, { mode });
    sync(beside);
    renameSync(beside, path);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
}

/** @returns whether the file is there: a file that has gone meanwhile is not an error */
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
