import { formatKey, isLineOf } from '../client/written.js';
import { UsageError } from './errors.js';
import { expectNew } from './file.js';
import { writeKey } from './key-file.js';
import { say, saysToFile, syncSaid } from './say.js';
import { isInteractive, readLine } from './terminal.js';

const TRIES = 5;

export interface GiveOutOptions {
  /** a file for the key, in place of standard output */
  readonly out?: string;
  /** whether the user confirms that whatever reads standard output keeps the digits */
  readonly yes?: boolean;
}

const shows = (): boolean => process.stdout.isTTY === true && isInteractive();

/** Makes sure, before anything is asked, that a key can be given out reliably. @throws UsageError */
export function expectKept({ out, yes }: GiveOutOptions): void {
  expectNew(out);
  if (out !== undefined || yes || shows() || saysToFile()) return;
  throw new UsageError(
    'standard output is not a terminal, so the digits could be lost. Name a file for them with --out, or use --yes if the program that reads them keeps them',
  );
}

/** @throws UsageError when no line was typed back correctly */
async function typedBack(key: Uint8Array): Promise<void> {
  const lines = formatKey(key).split('\n');
  const n = (crypto.getRandomValues(new Uint8Array(1))[0] as number) % lines.length;
  process.stderr.write('\nWrite these digits down. Nobody can show them to you again.\n');
  for (let tries = TRIES; tries > 0; tries--) {
    if (isLineOf(await readLine(`Type line ${n + 1} from what you wrote: `), lines[n] as string)) return;
    process.stderr.write('That is not the line. Compare it with what you wrote down.\n');
  }
  throw new UsageError(
    'what you typed is not that line; check what you wrote down, and run the command again',
  );
}

/**
 * Gives a key out, and makes sure that it has arrived: written and synced, or a line of it typed back.
 * @throws UsageError, Interrupted when it may not have arrived
 */
export async function giveOut(key: Uint8Array, { out, yes }: GiveOutOptions): Promise<void> {
  if (out !== undefined) return writeKey(out, key);
  say(formatKey(key));
  if (saysToFile()) return syncSaid();
  if (!yes) await typedBack(key);
}
