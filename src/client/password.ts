import { BkvError } from './errors.js';
import * as unicode from './unicode.js';

/** Most bytes of a prepared password. */
const LONGEST = 1024;

const isIn = unicode.isIn;
const ZWNJ = 0x200c;
const ZWJ = 0x200d;
const TAG_END = 0xe007f;

/** Any space but the plain one (Zs), and variation selectors. */
const SPACES = /[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]/gu;
const VARIATION_SELECTORS = /[\u180b-\u180d\u180f\ufe00-\ufe0f\u{e0100}-\u{e01ef}]/gu;

/** Whether the character at `i` may stand there. */
type Rule = (text: readonly number[], i: number) => boolean;

const between = (first: number, last: number) => (codePoint: number | undefined) =>
  codePoint !== undefined && codePoint >= first && codePoint <= last;
const isArabicIndic = between(0x660, 0x669);
const isExtendedArabicIndic = between(0x6f0, 0x6f9);
const isTag = between(0xe0020, TAG_END);
const isSkinTone = between(0x1f3fb, 0x1f3ff);

/** Whether an emoji, with or without a skin tone, ends at `i`. */
const endsEmoji: Rule = (text, i) => isIn(unicode.PICTOGRAPH, text[isSkinTone(text[i]) ? i - 1 : i]);

/** RFC 5892, A.1: between letters that would join. */
const breaksJoin: Rule = (text, i) => {
  const skip = (from: number, step: 1 | -1) => {
    let at = from + step;
    while (isIn(unicode.TRANSPARENT, text[at])) at += step;
    return text[at];
  };
  return isIn(unicode.JOINS_NEXT, skip(i, -1)) && isIn(unicode.JOINS_LAST, skip(i, 1));
};

/** Regional flags: an emoji, tags, and the tag that ends them (UTS #51, ED-14a). */
const isInTagSequence: Rule = (text, i) => {
  let first = i;
  while (isTag(text[first - 1])) first--;
  let last = first;
  while (isTag(text[last]) && text[last] !== TAG_END) last++;
  return text[last] === TAG_END && last > first && last >= i && endsEmoji(text, first - 1);
};

const afterVirama: Rule = (text, i) => isIn(unicode.VIRAMA, text[i - 1]);

/** CONTEXTJ and CONTEXTO of RFC 5892, appendix A, and what emoji need beyond it (docs/passwords.md). */
const RULES = new Map<number, Rule>([
  [ZWNJ, (text, i) => afterVirama(text, i) || breaksJoin(text, i)],
  [
    ZWJ,
    (text, i) => afterVirama(text, i) || (endsEmoji(text, i - 1) && isIn(unicode.PICTOGRAPH, text[i + 1])),
  ],
  [0xb7, (text, i) => text[i - 1] === 0x6c && text[i + 1] === 0x6c],
  [0x375, (text, i) => isIn(unicode.GREEK, text[i + 1])],
  [0x5f3, (text, i) => isIn(unicode.HEBREW, text[i - 1])],
  [0x5f4, (text, i) => isIn(unicode.HEBREW, text[i - 1])],
  [0x30fb, (text) => text.some((codePoint) => isIn(unicode.JAPANESE, codePoint))],
]);

const rule = (codePoint: number): Rule | undefined => {
  if (isTag(codePoint)) return isInTagSequence;
  if (isArabicIndic(codePoint)) return (text) => !text.some(isExtendedArabicIndic);
  if (isExtendedArabicIndic(codePoint)) return (text) => !text.some(isArabicIndic);
  return RULES.get(codePoint);
};

/** NFC of what Unicode 13.0 assigns; anything newer stays, since engines do not agree on it yet. */
function compose(text: string): string {
  let composed = '';
  let run = '';
  for (const char of text) {
    if (isIn(unicode.ASSIGNED, char.codePointAt(0))) run += char;
    else {
      composed += run.normalize('NFC') + char;
      run = '';
    }
  }
  return composed + run.normalize('NFC');
}

/** @throws BkvError `InvalidPassword` */
function check(text: readonly number[]): void {
  const at = text.findIndex((codePoint, i) => {
    const mayStand = rule(codePoint);
    return mayStand ? !mayStand(text, i) : isIn(unicode.DISALLOWED, codePoint);
  });
  const refused = text[at];
  if (refused === undefined) return;
  const code = refused.toString(16).toUpperCase().padStart(4, '0');
  const why = rule(refused)
    ? 'which RFC 8265 takes beside certain characters only'
    : 'which is invisible, or cannot be typed again with certainty';
  throw new BkvError('InvalidPassword', `character ${at + 1} of the password is U+${code}, ${why}`);
}

const tooLong = (): BkvError =>
  new BkvError('PasswordTooLong', `a password has at most ${LONGEST} bytes in UTF-8; this one is longer`);

/**
 * The bytes of a password, 1 to 1,024 in UTF-8, as RFC 8265 OpaqueString prepares them: any space becomes a
 * plain one, and the text is normalized to NFC. So the same password opens when it is typed on another
 * keyboard. `docs/passwords.md` has what is decided beyond the RFC.
 * @throws BkvError `EmptyPassword`; `PasswordTooLong`; `InvalidPassword` for a value that is not a string, or
 * a character that cannot be typed again with certainty
 */
export function preparePassword(password: string): Uint8Array {
  if (typeof password !== 'string') throw new BkvError('InvalidPassword', 'a password is a string');
  // No character loses more than two thirds of its bytes.
  if (password.length > 4 * LONGEST) throw tooLong();
  const prepared = compose(password.replace(VARIATION_SELECTORS, '').replace(SPACES, ' '));
  if (prepared.length === 0) throw new BkvError('EmptyPassword', 'the password is empty');
  check(Array.from(prepared, (char) => char.codePointAt(0) as number));
  const bytes = new TextEncoder().encode(prepared);
  if (bytes.length > LONGEST) throw tooLong();
  return bytes;
}
