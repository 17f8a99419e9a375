import { BkvError } from './errors.js';

/** Bytes of a piece. */
export const PIECE_BYTES = 45;
/** Crockford's Base32. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const CHARS = (PIECE_BYTES * 8) / 5;
const LINES = 3;
/** What separates characters, or cannot be seen. */
const PASSED_OVER = /^[\s\p{Z}\p{C}\p{Pd}\p{Default_Ignorable_Code_Point}−_.,:;/·•]$/u;
const ALIKE: Readonly<Record<string, string>> = {
  O: '0',
  I: '1',
  L: '1',
  '|': '1',
  О: '0',
  А: 'A',
  В: 'B',
  Е: 'E',
  К: 'K',
  М: 'M',
  Н: 'H',
  Р: 'P',
  С: 'C',
  Т: 'T',
  Х: 'X',
};

/** A character of a piece as it was typed. */
interface Typed {
  /** 0 to 31 */
  readonly value: number;
  readonly char: string;
  /** from 1 */
  readonly line: number;
  readonly column: number;
}

const invalid = (detail: string): BkvError => new BkvError('InvalidPiece', detail);

/** As three lines of six groups of four. @param bytes 45 of them */
export function encodePiece(bytes: Uint8Array): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  const chars = (bits.match(/.{5}/g) as string[]).map((five) => ALPHABET[Number.parseInt(five, 2)]).join('');
  return (chars.match(/.{24}/g) as string[])
    .map((line) => (line.match(/.{4}/g) as string[]).join(' '))
    .join('\n');
}

/** What a QR code of a piece holds: its 72 characters. */
export const codeOfPiece = (text: string): string => text.replace(/\s/g, '');

function type(text: string, which: string): Typed[] {
  const typed: Typed[] = [];
  text.split(/\r\n|[\n\r\u2028\u2029]/).forEach((content, i) => {
    [...content].forEach((char, j) => {
      if (PASSED_OVER.test(char)) return;
      const upper = char.normalize('NFKC').toUpperCase();
      const value = ALPHABET.indexOf(ALIKE[upper] ?? upper);
      if (value < 0 || upper.length !== 1)
        throw invalid(
          `${which}, line ${i + 1}, character ${j + 1}: "${char}" is in no piece, which has digits and the letters A to Z without I, L, O and U`,
        );
      typed.push({ value, char, line: i + 1, column: j + 1 });
    });
  });
  return typed;
}

const bytesOf = (values: readonly number[]): Uint8Array => {
  const bits = values.map((value) => value.toString(2).padStart(5, '0')).join('');
  return Uint8Array.from(bits.match(/.{8}/g) as string[], (byte) => Number.parseInt(byte, 2));
};

function checkCount(typed: readonly Typed[], which: string): void {
  if (typed.length === 0) throw invalid(`${which} is empty`);
  if (typed.length === CHARS) return;
  const lines = [...new Set(typed.map(({ line }) => line))];
  const wanted = CHARS / LINES;
  const odd = lines.find((n) => typed.filter(({ line }) => line === n).length !== wanted);
  const [where, has, of] =
    lines.length === LINES && odd !== undefined
      ? [`${which}, line ${odd},`, typed.filter(({ line }) => line === odd).length, wanted]
      : [which, typed.length, CHARS];
  const n = Math.abs(of - has);
  throw invalid(
    `${where} has ${has} characters and not ${of}: ${n} ${n === 1 ? 'is' : 'are'} ${has < of ? 'missing' : 'too many'}`,
  );
}

/**
 * The one mistyped character, or the two that were swapped. A wrong guess fits the 40-bit check by chance
 * once in 10⁸.
 */
function mistyped(typed: readonly Typed[], isSound: (bytes: Uint8Array) => boolean): string | undefined {
  const values = typed.map(({ value }) => value);
  const at = ({ line, column }: Typed) => `line ${line}, character ${column}`;
  for (const [i, one] of typed.entries()) {
    for (let value = 0; value < ALPHABET.length; value++)
      if (value !== one.value && isSound(bytesOf(values.with(i, value))))
        return `${at(one)}: "${one.char}" is mistyped; it is "${ALPHABET[value]}"`;
    const next = typed[i + 1];
    if (next && isSound(bytesOf(values.with(i, next.value).with(i + 1, one.value))))
      return `${at(one)}: "${one.char}" and the character behind it have changed places`;
  }
  return undefined;
}

/**
 * Reads what {@link encodePiece} wrote: lower case, spaces, dashes and look-alikes do not matter.
 * @param which what the piece is called in errors
 * @returns 45 bytes
 * @throws BkvError `InvalidPiece`
 */
export function decodePiece(
  text: string,
  which: string,
  isSound: (bytes: Uint8Array) => boolean,
): Uint8Array {
  const typed = type(text, which);
  checkCount(typed, which);
  const bytes = bytesOf(typed.map(({ value }) => value));
  if (isSound(bytes)) return bytes;
  const where = mistyped(typed, isSound);
  throw invalid(
    where ? `${which}, ${where}` : `${which} is mistyped in several places; compare it with what is written`,
  );
}

/** Whether a text is meant as a piece, perhaps mistyped. Never send such a text as a password. */
export function looksLikePiece(text: string): boolean {
  const shown = [...text].filter((char) => !PASSED_OVER.test(char));
  return Math.abs(shown.length - CHARS) <= 4 && shown.every((char) => /^[0-9a-z|]$/i.test(char));
}
