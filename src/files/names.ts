import { isUtf8 } from 'node:buffer';

/** A byte that is not part of valid UTF-8 is the code unit U+DC00 + byte (PEP 383): names are bytes. */
const ESCAPE = 0xdc00;
const ESCAPED = /[\udc80-\udcff]/;
const REPLACEMENT = '\ufffd';

/** Whether a name that the system gave as text may have lost bytes. */
export const isDoubtful = (name: string): boolean => name.includes(REPLACEMENT);

/** Whether a name is plain text: it has no escaped bytes, and is not doubtful. */
export const isPlain = (name: string): boolean => !ESCAPED.test(name) && !isDoubtful(name);

/** The length of a UTF-8 character, by its first byte. */
const lengthOf = (first: number): number => (first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4);

/** The text of a name's bytes, from which {@link toBytes} makes the same bytes again. */
export function fromBytes(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString();
  let name = '';
  for (let at = 0; at < bytes.length; ) {
    const length = lengthOf(bytes[at] as number);
    const piece = bytes.subarray(at, at + length);
    if (piece.length === length && isUtf8(piece)) {
      name += piece.toString();
      at += length;
    } else name += String.fromCharCode(ESCAPE + (bytes[at++] as number));
  }
  return name;
}

/** The form of a name that the system is given: the text itself, if that is enough. */
export function toBytes(name: string): string | Buffer {
  // In a string that is not well formed a low half may also belong to a character.
  if (!ESCAPED.test(name)) return name;
  const pieces: Buffer[] = [];
  for (const char of name) {
    const code = char.charCodeAt(0);
    const isEscape = char.length === 1 && code >= 0xdc80 && code <= 0xdcff;
    pieces.push(isEscape ? Buffer.of(code - ESCAPE) : Buffer.from(char));
  }
  return Buffer.concat(pieces);
}
