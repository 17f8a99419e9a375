import { BkvError, formatKey, looksLikePiece, parseKey, readDigits } from '../client/written.js';
import { UsageError } from './errors.js';
import { readText, writeNew } from './file.js';
import { isInteractive, readSecret } from './terminal.js';

const LINES = 4;

/** Four lines, as a key is written down, or all in one. */
async function askForKey(): Promise<Uint8Array> {
  const lines = [await readSecret('Backup key (64 digits): ')];
  for (;;) {
    try {
      return parseKey(lines.join('\n'));
    } catch (error) {
      if (looksLikePiece(lines[0] as string))
        throw new UsageError('this is a piece, not a key: use --pieces, and give as many as are needed');
      if (!isLine(lines.at(-1) as string) || lines.length === LINES) throw error;
      // Without a terminal no more lines come. An error about the digits then says more than an error about
      // the missing line.
      lines.push(
        await readSecret(`Line ${lines.length + 1}: `).catch((end) => {
          throw isInteractive() ? end : error;
        }),
      );
    }
  }
}

/** Whether a text is digits, and no more than one line of a key. */
function isLine(text: string): boolean {
  const { digits, others } = readDigits(text);
  return others === 0 && digits.length > 0 && digits.length <= 20;
}

/** The error for wrong content of a file. */
export const inFile = (file: string, error: unknown): unknown =>
  error instanceof BkvError ? new UsageError(`${file}: ${error.message}`) : error;

/** The backup key, from a file or from the terminal. @throws UsageError; BkvError `InvalidKey` */
export async function readKey(file: string | undefined): Promise<Uint8Array> {
  if (file === undefined) return askForKey();
  const text = readText(file);
  try {
    return parseKey(text);
  } catch (error) {
    throw inFile(file, error);
  }
}

export const writeKey = (file: string, key: Uint8Array): void => writeNew(file, `${formatKey(key)}\n`);
