/** A character of a text that a person typed. */
export interface Typed {
  readonly char: string;
  /** from 1 */
  readonly line: number;
  /** from 1 */
  readonly column: number;
}

/** What separates characters, or cannot be seen: spaces, dashes of all kinds, marks that people write between groups. */
const PASSED_OVER = /^[\s\p{Z}\p{C}\p{Pd}\p{Default_Ignorable_Code_Point}\u2212_.,:;/·•]$/u;

/** The characters of a text that mean something. */
export const typed = (text: string): Typed[] =>
  text
    .split(/\r\n|[\n\r\u2028\u2029]/)
    .flatMap((content, i) => [...content].map((char, j) => ({ char, line: i + 1, column: j + 1 })))
    .filter(({ char }) => !PASSED_OVER.test(char));

/** Letters of other scripts that look like a Latin one: Cyrillic and Greek. */
const LATIN: Readonly<Record<string, string>> = {
  А: 'A',
  В: 'B',
  С: 'C',
  Е: 'E',
  Н: 'H',
  І: 'I',
  К: 'K',
  М: 'M',
  О: 'O',
  Р: 'P',
  Т: 'T',
  Х: 'X',
  Ι: 'I',
  Ο: 'O',
};
/** What looks like a digit, and is no character of a key or of a piece. */
const DIGITS: Readonly<Record<string, string>> = { O: '0', I: '1', L: '1', '|': '1' };

/** The digit or capital letter that a character looks like. */
export function plain(char: string): string {
  // NFKC turns full-width, mathematical and circled characters into plain ones.
  const upper = char.normalize('NFKC').toUpperCase();
  const latin = LATIN[upper] ?? upper;
  return DIGITS[latin] ?? latin;
}
