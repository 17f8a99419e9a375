/** A text without characters that could control the terminal: names of files and labels may have any. */
export const printable = (text: string): string =>
  Buffer.from(text)
    .toString()
    .replace(/\p{Cc}/gu, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);

/** The same for a text of several lines. */
export const printableLines = (text: string): string => text.split('\n').map(printable).join('\n');
