import { bytesToHex, concatBytes, hexToBytes } from '@noble/hashes/utils.js';
import { BackupError } from './errors.js';

const NAME_BYTES = 32;

/** Names of parts, as claims and marks hold them: 32 bytes each. */
export function packNames(names: Iterable<string>): Uint8Array {
  return concatBytes(...[...names].map((name) => hexToBytes(name)));
}

export function* unpackNames(packed: Uint8Array): Generator<string> {
  if (packed.length % NAME_BYTES !== 0) throw new BackupError('a list of parts is not as the format says');
  for (let at = 0; at < packed.length; at += NAME_BYTES)
    yield bytesToHex(packed.subarray(at, at + NAME_BYTES));
}

/** Most parts of a backup: 32 TB, if they are full. */
export const MOST_PARTS = 8 * 1024 * 1024;
/** Most bytes of a claim or a mark, which may name all parts. */
export const MOST_NAMES = MOST_PARTS * NAME_BYTES;
