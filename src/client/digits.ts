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

/** What separates digits, or cannot be seen: spaces, dashes of all kinds, marks that people write between groups. */
const PASSED_OVER = /^[\s\p{Z}\p{C}\p{Pd}\p{Default_Ignorable_Code_Point}\u2212_.,:;/·•]$/u;

/** Letters that look like a digit of a key: Latin, then Cyrillic and Greek. */
const ALIKE: Readonly<Record<string, string>> = {
  o: '0',
  i: '1',
  l: '1',
  '|': '1',
  а: 'a',
  в: 'b',
  с: 'c',
  е: 'e',
  о: '0',
  і: '1',
  ο: '0',
  ι: '1',
};

/** Decimal digits stand ten in a row, from 0 to 9, in every script that has them. */
function decimal(char: string): string | undefined {
  if (!/^\p{Nd}$/u.test(char)) return undefined;
  const codePoint = char.codePointAt(0) as number;
  let zero = codePoint;
  while (/^\p{Nd}$/u.test(String.fromCodePoint(zero - 1))) zero--;
  return String((codePoint - zero) % 10);
}

function digitOf(char: string): string | undefined {
  // NFKC turns full-width, mathematical and circled digits into plain ones.
  const plain = char.normalize('NFKC').toLowerCase();
  if (/^[0-9a-f]$/.test(plain)) return plain;
  return ALIKE[plain] ?? decimal(plain);
}

/** Reads the digits of a text, however they are written. */
export function readDigits(text: string): Read {
  const digits: Digit[] = [];
  let others = 0;
  let strange: Read['strange'];
  text.split(/\r\n|[\n\r\u2028\u2029]/).forEach((content, i) => {
    [...content].forEach((char, j) => {
      const value = digitOf(char);
      if (value !== undefined) digits.push({ value, line: i + 1 });
      else if (!PASSED_OVER.test(char)) {
        others++;
        strange ??= { char, line: i + 1, column: j + 1 };
      }
    });
  });
  return { digits, others, strange };
}
