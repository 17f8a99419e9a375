import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { type Digit, readDigits } from './digits.js';
import { BkvError } from './errors.js';

const LINES = 4;
const LINE_DIGITS = 16;
const CHECKED_DIGITS = LINE_DIGITS + 2;

/** ISO 7064 MOD 97-10: finds every single mistyped digit and every swap of two neighbours. */
const checkDigits = (line: string): string =>
  String(98n - ((BigInt(`0x${line}`) * 100n) % 97n)).padStart(2, '0');

const isWhole = (line: string): boolean =>
  line.length === CHECKED_DIGITS && checkDigits(line.slice(0, LINE_DIGITS)) === line.slice(LINE_DIGITS);

/** A random backup key, 32 bytes. */
export const newBackupKey = (): Uint8Array => crypto.getRandomValues(new Uint8Array(32));

/** @throws BkvError `InvalidKey` for all but 32 bytes */
export function checkKey(key: Uint8Array): void {
  if (!(key instanceof Uint8Array))
    throw new BkvError('InvalidKey', 'a backup key is a Uint8Array of 32 bytes');
  if (key.length !== 32) throw new BkvError('InvalidKey', `a backup key has 32 bytes, not ${key.length}`);
}

/**
 * A backup key (32 bytes) as 64 hexadecimal digits: four lines of four groups of four, and two decimal check
 * digits after each line.
 * @throws BkvError `InvalidKey` for all but 32 bytes
 */
export function formatKey(key: Uint8Array): string {
  checkKey(key);
  const digits = bytesToHex(key);
  const lines = digits.match(/.{16}/g) as string[];
  return lines
    .map((line) => `${(line.match(/.{4}/g) as string[]).join(' ')}  ${checkDigits(line)}`)
    .join('\n');
}

const written = (digits: readonly Digit[]): string => digits.map(({ value }) => value).join('');

const miscounted = (has: number, wanted: number): string => {
  const n = Math.abs(wanted - has);
  const digits = n === 1 ? 'a digit is' : `${n} digits are`;
  return has < wanted ? `${digits} missing` : `${digits} too many`;
};

/** What is wrong with the number of lines or digits of a key, as far as can be told. */
function miscount(digits: readonly Digit[]): string {
  const lines = [...new Set(digits.map(({ line }) => line))].map((n) =>
    digits.filter(({ line }) => line === n),
  );
  const checked = digits.length > 68;
  const wanted = checked ? CHECKED_DIGITS : LINE_DIGITS;
  const odd = lines.length === LINES ? lines.find((line) => line.length !== wanted) : undefined;
  if (odd)
    return `line ${odd[0]?.line} has ${odd.length} digits in place of ${wanted}: ${miscounted(odd.length, wanted)}`;
  const [all, of] = checked ? [LINES * CHECKED_DIGITS, ' with its check digits'] : [LINES * LINE_DIGITS, ''];
  const found = `a key has ${all} digits${of}, and these are ${digits.length}: ${miscounted(digits.length, all)}`;
  if (!checked) return found;
  const groups = written(digits).match(new RegExp(`.{1,${CHECKED_DIGITS}}`, 'g')) as string[];
  return `${found}, in line ${Math.min(groups.findIndex((line) => !isWhole(line)) + 1, LINES)} of the key`;
}

const invalid = (detail: string): BkvError => new BkvError('InvalidKey', detail);

/**
 * Reads what {@link formatKey} wrote, or the 64 digits alone. Spaces, line ends, dashes, capitals and
 * invisible characters do not matter. Digits of other scripts are read too. O is read as 0, and I and l as 1,
 * because no hexadecimal digit looks like these.
 * @throws BkvError `InvalidKey`, naming the line that is mistyped, and the character where it is known
 */
export function parseKey(text: string): Uint8Array {
  if (typeof text !== 'string') throw invalid('the digits of a key are a string');
  const { digits, strange } = readDigits(text);
  if (strange)
    throw invalid(
      `line ${strange.line}, character ${strange.column}: "${strange.char}" is not a digit of a key (0 to 9, a to f)`,
    );
  if (digits.length === 0) throw invalid('there are no digits');
  const withChecks = digits.length === LINES * CHECKED_DIGITS;
  if (!withChecks && digits.length !== LINES * LINE_DIGITS) throw invalid(miscount(digits));
  let key = written(digits);
  if (withChecks) {
    const lines = key.match(/.{18}/g) as string[];
    const bad = lines.findIndex((line) => !isWhole(line));
    if (bad >= 0) throw invalid(`line ${bad + 1} of the key is mistyped: its check digits do not fit`);
    key = lines.map((line) => line.slice(0, LINE_DIGITS)).join('');
  }
  return hexToBytes(key);
}

/** Whether a line of {@link formatKey} was typed back, with its check digits or without. */
export function isLineOf(typed: string, line: string): boolean {
  const { digits, strange } = readDigits(typed);
  const wanted = written(readDigits(line).digits);
  return !strange && [wanted, wanted.slice(0, LINE_DIGITS)].includes(written(digits));
}

/**
 * Whether a text is meant as the digits of a key or as a line of them, perhaps mistyped. Never send such a
 * text as a password: it would cost an attempt.
 */
export function looksLikeKey(text: string): boolean {
  const { digits, others } = readDigits(text);
  if (digits.length >= 40 && others * 10 <= digits.length) return true;
  return (
    others === 0 &&
    /^\s*(\S{4} ){4} \S{2}\s*$/.test(text.split(/\r?\n/, 1)[0] ?? '') &&
    isWhole(written(digits.slice(0, CHECKED_DIGITS)))
  );
}
