import { BkvError } from './errors.js';

const LINE_DIGITS = 16;

/** ISO 7064 MOD 97-10: finds every single mistyped digit and every swap of two neighbours. */
const checkDigits = (line: string): string =>
  String(98n - ((BigInt(`0x${line}`) * 100n) % 97n)).padStart(2, '0');

/** A random backup key, 32 bytes. */
export const newBackupKey = (): Uint8Array => crypto.getRandomValues(new Uint8Array(32));

/**
 * A backup key (32 bytes) as 64 hexadecimal digits: four lines of four groups of four, and two decimal check digits
 * behind each line.
 */
export function formatKey(key: Uint8Array): string {
  const digits = [...key].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const lines = digits.match(/.{16}/g) as string[];
  return lines
    .map((line) => `${(line.match(/.{4}/g) as string[]).join(' ')}  ${checkDigits(line)}`)
    .join('\n');
}

/**
 * Reads what {@link formatKey} wrote, or the 64 digits alone; spaces, line ends, dashes and capitals do not matter.
 * @throws BkvError `InvalidKey`, naming the line that is mistyped
 */
export function parseKey(text: string): Uint8Array {
  const digits = text.replace(/[\s-]/g, '').toLowerCase();
  if (!/^[0-9a-f]*$/.test(digits))
    throw new BkvError('InvalidKey', 'a key has only the digits 0 to 9 and a to f');
  const withChecks = digits.length === 4 * (LINE_DIGITS + 2);
  if (!withChecks && digits.length !== 64) {
    throw new BkvError('InvalidKey', `a key has 64 digits (72 with its check digits), not ${digits.length}`);
  }
  let key = digits;
  if (withChecks) {
    const lines = digits.match(/.{18}/g) as string[];
    lines.forEach((line, i) => {
      if (checkDigits(line.slice(0, LINE_DIGITS)) !== line.slice(LINE_DIGITS)) {
        throw new BkvError('InvalidKey', `line ${i + 1} of the key is mistyped`);
      }
    });
    key = lines.map((line) => line.slice(0, LINE_DIGITS)).join('');
  }
  return Uint8Array.from(key.match(/../g) as string[], (pair) => Number.parseInt(pair, 16));
}

/** Whether a text is more likely 64 digits, with or without typing errors, than a password. */
export function looksLikeKey(text: string): boolean {
  const typed = text.normalize('NFKC').replace(/[\s\p{Pd}]/gu, '');
  const digits = typed.match(/[0-9a-fil|os\p{Nd}]/giu)?.length ?? 0;
  return typed.length >= 40 && digits >= typed.length * 0.9;
}
