import { sha256 } from '@noble/hashes/sha2.js';
import { concatBytes, randomBytes } from '@noble/hashes/utils.js';
import { combine, split } from 'shamir-secret-sharing';
import { BkvError } from './errors.js';
import { decodePiece, encodePiece, PIECE_BYTES } from './piece-text.js';

const VERSION = 1;
/** Version, round, threshold and number. */
const HEAD_BYTES = 7;
const CHECK_BYTES = 5;
/** Most people that a secret can be split among. */
export const MOST_PIECES = 20;

interface Piece {
  /** the same for all pieces that were given out together, with one threshold */
  readonly round: string;
  readonly threshold: number;
  readonly number: number;
  /** 33 bytes */
  readonly share: Uint8Array;
}

const checkOf = (content: Uint8Array): Uint8Array =>
  sha256(concatBytes(new TextEncoder().encode('bkv piece'), content)).slice(0, CHECK_BYTES);

const isSound = (bytes: Uint8Array): boolean => {
  const check = checkOf(bytes.subarray(0, PIECE_BYTES - CHECK_BYTES));
  return check.every((byte, i) => byte === bytes[PIECE_BYTES - CHECK_BYTES + i]);
};

/**
 * Splits a secret (32 bytes) into pieces for as many people, any `threshold` of whom restore it; fewer learn nothing
 * (Shamir's secret sharing). Each is text of three lines: docs/formats/pieces.md.
 * @param count 2 to 20
 * @param threshold 2 to `count`
 * @throws BkvError `InvalidThreshold`
 */
export async function splitSecret(secret: Uint8Array, count: number, threshold: number): Promise<string[]> {
  const inRange = (n: number, most: number) => Number.isInteger(n) && n >= 2 && n <= most;
  if (!inRange(count, MOST_PIECES) || !inRange(threshold, count))
    throw new BkvError(
      'InvalidThreshold',
      `2 to ${MOST_PIECES} people have a piece each, and 2 or more of them are needed, no more than there are`,
    );
  const round = randomBytes(4);
  const shares = await split(Uint8Array.from(secret), count, threshold);
  return shares.map((share, i) => {
    const content = concatBytes(Uint8Array.of(VERSION), round, Uint8Array.of(threshold, i + 1), share);
    return encodePiece(concatBytes(content, checkOf(content)));
  });
}

/** Reads a piece. @param which what it is called in errors */
function read(text: string, which: string): Piece {
  const bytes = decodePiece(text, which, isSound);
  const [version, ...head] = bytes.subarray(0, HEAD_BYTES);
  const [threshold, number] = head.slice(4) as [number, number];
  if (version !== VERSION || threshold < 2)
    throw new BkvError('InvalidPiece', `${which} is of a kind that this program does not know`);
  return {
    round: head.slice(0, 5).join('.'),
    threshold,
    number,
    share: Uint8Array.from(bytes.subarray(HEAD_BYTES, PIECE_BYTES - CHECK_BYTES)),
  };
}

/** How far the pieces that are there suffice. */
export interface Gathered {
  /** how many there are */
  readonly pieces: number;
  /** how many are needed */
  readonly threshold: number;
}

const nameOf = (index: number): string => `piece ${index + 1}`;

/** @throws BkvError `InvalidPiece` for a piece that is mistyped, of another round, or there twice */
function readAll(texts: readonly string[]): Piece[] {
  const pieces = texts.map((text, i) => read(text, nameOf(i)));
  for (const [i, { round, number }] of pieces.entries()) {
    if (round !== pieces[0]?.round)
      throw new BkvError(
        'InvalidPiece',
        `${nameOf(i)} does not belong to piece 1: they were given out at different times, and do not mix`,
      );
    const same = pieces.findIndex((other) => other.number === number);
    if (same < i) throw new BkvError('InvalidPiece', `${nameOf(i)} is the same as piece ${same + 1}`);
  }
  return pieces;
}

/**
 * Checks the pieces that are there, so that a typing error is reported before the next piece is typed.
 * @param texts at least one
 * @throws BkvError `InvalidPiece`, naming the piece, and the line and character where they are known
 */
export function gather(texts: readonly string[]): Gathered {
  const pieces = readAll(texts);
  return { pieces: pieces.length, threshold: pieces[0]?.threshold ?? 2 };
}

/**
 * Restores the secret (32 bytes) of {@link splitSecret}. A piece that was forged gives another secret, which opens nothing.
 * @throws BkvError `InvalidPiece` as {@link gather}, `TooFewPieces`
 */
export async function joinPieces(texts: readonly string[]): Promise<Uint8Array> {
  const pieces = readAll(texts);
  const threshold = pieces[0]?.threshold ?? 2;
  if (pieces.length < threshold)
    throw new BkvError(
      'TooFewPieces',
      `${threshold} pieces are needed, and there ${pieces.length === 1 ? 'is only 1' : `are only ${pieces.length}`}`,
    );
  return combine(pieces.map(({ share }) => share)).catch((cause) => {
    throw new BkvError('InvalidPiece', 'one of these pieces was forged: they contradict each other', {
      cause,
    });
  });
}
