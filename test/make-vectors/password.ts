import { preparePassword } from '../../src/client/index.js';
import * as unicode from '../../src/client/unicode.js';
import { hex, stretch } from './bytes.js';

const TAKEN = [
  'correct horse battery staple',
  'Correct Horse Battery Staple',
  'πßå',
  'Jack of ♦s',
  'foo\u1680bar',
  'foo\u3000bar',
  'e\u0301',
  '\u212b',
  '🔑',
  'می‌خواهم',
  'क्‍ष',
  'l·l',
  '\u0375α',
  'ג׳',
  'ア・イ',
  '٣٤',
  '❤\ufe0f',
  '1\ufe0f\u20e3',
  '👩🏽‍❤\ufe0f‍💋‍👨🏿',
  '👨‍👩‍👧',
  '🏴󠁧󠁢󠁥󠁮󠁧󠁿',
  '\u1112\u1161\u11ab',
  '\u{1f44b}\u{1f3fd}\u{e0067}\u{e007f}',
  'می\u064e\u200cخ',
  '葛\u{e0100}',
  '\u{105d2}\u0307',
  '\u{1fae9}',
  '\u0378',
  'x'.repeat(1024),
];
const REFUSED = [
  '',
  '\ufe0f',
  'my cat is a \tby',
  'a\u200bb',
  'a\u200fb',
  '\ud800',
  '\u{e0001}',
  '\uffff',
  '\ue000',
  '\u2028',
  'a\u200db',
  'a\u200cb',
  '👨\u200d',
  '\u200d👨',
  'a·b',
  '\u0375a',
  'a׳',
  'x・y',
  '٣۴',
  '🏴󠁧󠁢',
  '👨\u{e007f}',
  'a\u{e0067}\u{e007f}',
  '\u{1f3fd}\u200da',
  '\u1100\u{1112}a',
  '・',
  'ـ',
  'x'.repeat(1025),
  'é'.repeat(513),
];

const codeOf = (typed: string): string => {
  try {
    preparePassword(typed);
  } catch (error) {
    return (error as { code: string }).code;
  }
  throw new Error(`${JSON.stringify(typed)} is taken`);
};

export const password = () => ({
  taken: TAKEN.map((typed) => ({ typed, prepared: hex(preparePassword(typed)) })),
  refused: REFUSED.map((typed) => ({ typed, code: codeOf(typed) })),
});

/** Each table as ranges of hexadecimal code points. The end of a range is included. */
export const codePoints = () =>
  Object.fromEntries(
    Object.entries({
      assigned: unicode.ASSIGNED,
      disallowed: unicode.DISALLOWED,
      virama: unicode.VIRAMA,
      joinsNext: unicode.JOINS_NEXT,
      joinsLast: unicode.JOINS_LAST,
      transparent: unicode.TRANSPARENT,
      greek: unicode.GREEK,
      hebrew: unicode.HEBREW,
      japanese: unicode.JAPANESE,
      pictograph: unicode.PICTOGRAPH,
    }).map(([name, table]) => {
      const bounds = table();
      const ranges = Array.from({ length: bounds.length / 2 }, (_, i) =>
        [bounds[2 * i] as number, (bounds[2 * i + 1] as number) - 1].map((n) => n.toString(16)).join('-'),
      );
      return [name, ranges.join(' ')];
    }),
  );

export const stretching = async () =>
  Promise.all(
    ['00'.repeat(32), '0f'.repeat(32)].map(async (input) => ({
      input,
      output: hex(await stretch(Buffer.from(input, 'hex'))),
    })),
  );
