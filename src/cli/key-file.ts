import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { BkvError, formatKey, parseKey } from '../client/index.js';
import { UsageError } from './errors.js';
import { writeNew } from './file.js';
import { readSecret } from './terminal.js';

export const withKeyFile = (command: Command): Command =>
  command.option('--key-file <file>', 'file with the 64 digits; without it they are asked for');

const LINES = 4;

/** Four lines, as a key is written down, or all in one. */
async function askForKey(): Promise<Uint8Array> {
  const lines: string[] = [];
  for (;;) {
    lines.push(
      await readSecret(lines.length === 0 ? 'Backup key (64 digits): ' : `Line ${lines.length + 1}: `),
    );
    try {
      return parseKey(lines.join('\n'));
    } catch (error) {
      if (!isLine(lines.at(-1) as string) || lines.length === LINES) throw error;
    }
  }
}

/** Whether a text has no more digits than one line of a key. */
const isLine = (text: string): boolean => text.trim() !== '' && text.replace(/[\s-]/g, '').length <= 20;

/** The backup key, from a file or from the terminal. @throws UsageError; BkvError `InvalidKey` */
export async function readKey(file: string | undefined): Promise<Uint8Array> {
  if (file === undefined) return askForKey();
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  try {
    return parseKey(text);
  } catch (error) {
    throw error instanceof BkvError ? new UsageError(`${file}: ${error.message}`) : error;
  }
}

export const writeKey = (file: string, key: Uint8Array): void => writeNew(file, `${formatKey(key)}\n`);
