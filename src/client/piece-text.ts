import { BkvError } from './errors.js';
import { plain, type Typed, typed } from './typed.js';

/** Bytes of a piece. */
export const PIECE_BYTES = 45;
/** Crockford's Base32. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const CHARS = (PIECE_BYTES * 8) / 5;
const LINES = 3;
/** A character of a piece as it was typed. */
interface Character extends Typed {
  /** 0 to 31 */
  readonly value: number;
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

const charactersOf = (text: string, which: string): Character[] =>
  typed(text).map((one) => {
    const like = plain(one.char);
    const value = like.length === 1 ? ALPHABET.indexOf(like) : -1;
    if (value < 0)
      throw invalid(
        `${which}, line ${one.line}, character ${one.column}: "${one.char}" is in no piece, which has digits and the letters A to Z without I, L, O and U`,
      );
    return { ...one, value };
  });

const bytesOf = (values: readonly number[]): Uint8Array => {
  const bits = values.map((value) => value.toString(2).padStart(5, '0')).join('');
  return Uint8Array.from(bits.match(/.{8}/g) as string[], (byte) => Number.parseInt(byte, 2));
};

function checkCount(characters: readonly Character[], which: string): void {
  if (characters.length === 0) throw invalid(`${which} is empty`);
  if (characters.length === CHARS) return;
  const lines = [...new Set(characters.map(({ line }) => line))];
  const wanted = CHARS / LINES;
  const odd = lines.find((n) => characters.filter(({ line }) => line === n).length !== wanted);
  const [where, has, of] =
    lines.length === LINES && odd !== undefined
      ? [`${which}, line ${odd},`, characters.filter(({ line }) => line === odd).length, wanted]
      : [which, characters.length, CHARS];
  const n = Math.abs(of - has);
  throw invalid(
    `${where} has ${has} characters and not ${of}: ${n} ${n === 1 ? 'is' : 'are'} ${has < of ? 'missing' : 'too many'}`,
  );
}

/**
 * The one mistyped character, or the two that were swapped. A wrong guess fits the 40-bit check by chance
 * once in 10⁸.
 */
function mistyped(
  characters: readonly Character[],
  isSound: (bytes: Uint8Array) => boolean,
): string | undefined {
  const values = characters.map(({ value }) => value);
  const at = ({ line, column }: Typed) => `line ${line}, character ${column}`;
  for (const [i, one] of characters.entries()) {
    for (let value = 0; value < ALPHABET.length; value++)
      if (value !== one.value && isSound(bytesOf(values.with(i, value))))
        return `${at(one)}: "${one.char}" is mistyped; it is "${ALPHABET[value]}"`;
    const next = characters[i + 1];
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
  const characters = charactersOf(text, which);
  checkCount(characters, which);
  const bytes = bytesOf(characters.map(({ value }) => value));
  if (isSound(bytes)) return bytes;
  const where = mistyped(characters, isSound);
  throw invalid(
    where ? `${which}, ${where}` : `${which} is mistyped in several places; compare it with what is written`,
  );
}

/** Whether a text is meant as a piece, perhaps mistyped. Never send such a text as a password. */
export function looksLikePiece(text: string): boolean {
  const shown = typed(text);
  return Math.abs(shown.length - CHARS) <= 4 && shown.every(({ char }) => /^[0-9a-z|]$/i.test(char));
}
