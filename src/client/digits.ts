import { plain, typed } from './typed.js';

/** A hexadecimal digit as it was typed somewhere in a text. */
export interface Digit {
  /** 0 to 9, a to f */
  readonly value: string;
  /** from 1 */
  readonly line: number;
}

export interface Read {
  readonly digits: readonly Digit[];
  /** how many characters are neither digits nor skipped */
  readonly others: number;
  /** the first of these characters, and where it is: line and character, from 1 */
  readonly strange: { readonly char: string; readonly line: number; readonly column: number } | undefined;
}

/** Decimal digits stand ten in a row, from 0 to 9, in every script that has them. */
function decimal(char: string): string | undefined {
  if (!/^\p{Nd}$/u.test(char)) return undefined;
  const codePoint = char.codePointAt(0) as number;
  let zero = codePoint;
  while (/^\p{Nd}$/u.test(String.fromCodePoint(zero - 1))) zero--;
  return String((codePoint - zero) % 10);
}

function digitOf(char: string): string | undefined {
  const like = plain(char);
  return /^[0-9A-F]$/.test(like) ? like.toLowerCase() : decimal(like);
}

/** Reads the digits of a text, however they are written. */
export function readDigits(text: string): Read {
  const digits: Digit[] = [];
  let others = 0;
  let strange: Read['strange'];
  for (const { char, line, column } of typed(text)) {
    const value = digitOf(char);
    if (value !== undefined) digits.push({ value, line });
    else {
      others++;
      strange ??= { char, line, column };
    }
  }
  return { digits, others, strange };
}
