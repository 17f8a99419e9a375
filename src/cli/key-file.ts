import { readFileSync, writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { formatKey, parseKey } from '../client/index.js';
import { readSecret, UsageError } from './terminal.js';

export const withKeyFile = (command: Command): Command =>
  command.option('--key-file <file>', 'file with the 64 digits; without it they are asked for');

/** The backup key, from a file or from the terminal. */
export async function readKey(file: string | undefined): Promise<Uint8Array> {
  if (file === undefined) return parseKey(await readSecret('Backup key (64 digits): '));
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  return parseKey(text);
}

export function writeKey(file: string, key: Uint8Array): void {
  try {
    writeFileSync(file, `${formatKey(key)}\n`, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    const reason =
      (error as NodeJS.ErrnoException).code === 'EEXIST'
        ? 'is there already; name another file'
        : 'cannot be written';
    throw new UsageError(`${file} ${reason}`);
  }
}
