import { openSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { StringDecoder } from 'node:string_decoder';
import { ReadStream } from 'node:tty';
import { passwordStrength } from '../client/index.js';
import { CodedError } from '../protocol/index.js';

/** A command was used wrongly, or what it needs is missing. Ends with exit code 2. */
export class UsageError extends CodedError {
  constructor(message: string) {
    super('usage', message);
  }
}

let pipedLines: AsyncIterator<string> | undefined;

async function pipedLine(): Promise<string | undefined> {
  pipedLines ??= createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const { value, done } = await pipedLines.next();
  return done ? undefined : value;
}

/** The terminal itself, for a program whose standard input another one has taken away. */
function terminal(): ReadStream {
  try {
    return new ReadStream(openSync('/dev/tty', 'r+'));
  } catch {
    throw new UsageError('there is no terminal, and standard input ended; give the secret as a line of it');
  }
}

/** Reads a secret from the terminal without echo, or a line of standard input when that is no terminal and has one. */
export async function readSecret(prompt: string): Promise<string> {
  const { stderr } = process;
  const line = process.stdin.isTTY ? undefined : await pipedLine();
  if (line !== undefined) return line;
  const stdin = process.stdin.isTTY ? process.stdin : terminal();
  stderr.write(prompt);
  stdin.setRawMode(true);
  stdin.resume();
  const decoder = new StringDecoder('utf8');
  let secret = '';
  try {
    for await (const chunk of stdin.iterator({ destroyOnReturn: false })) {
      for (const char of decoder.write(chunk as Buffer)) {
        if (char === '\r' || char === '\n') return secret;
        if (char === '\u0003') throw new UsageError('interrupted');
        if (char === '\u007f' || char === '\b') secret = [...secret].slice(0, -1).join('');
        else if (char >= ' ') secret += char;
      }
    }
    return secret;
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    if (stdin !== process.stdin) stdin.destroy();
    stderr.write('\n');
  }
}

/**
 * Asks for a new password, twice on a terminal, and says how strong it is.
 * @param least the lowest score taken, 0 to 4
 * @throws UsageError when it is too weak
 */
export async function readNewPassword(least = 1): Promise<string> {
  const password = await readSecret('New password: ');
  const { score, advice } = await passwordStrength(password);
  const words = ['very weak', 'weak', 'fair', 'good', 'strong'];
  if (score < least)
    throw new UsageError(
      score === 0
        ? `this password is among the first that are guessed. ${advice.join(' ')}`
        : `this password is ${words[score]}, and must be ${words[least]} here. ${advice.join(' ')}`,
    );
  process.stderr.write(`This password is ${words[score]}. ${advice.join(' ')}`.trimEnd().concat('\n'));
  if (process.stdin.isTTY && (await readSecret('Once more:    ')) !== password)
    throw new UsageError('the two passwords differ');
  return password;
}

/** A bar on a terminal; nothing elsewhere. */
export function progressBar(label: string): ((done: number, total: number) => void) | undefined {
  if (!process.stderr.isTTY) return undefined;
  let last = 0;
  return (done, total) => {
    const now = Date.now();
    if (done < total && now - last < 100) return;
    last = now;
    const share = total === 0 ? 1 : done / total;
    const filled = Math.round(share * 30);
    process.stderr.write(
      `\r${label} [${'█'.repeat(filled)}${'░'.repeat(30 - filled)}] ${(share * 100).toFixed(0).padStart(3)} %${done >= total ? '\n' : ''}`,
    );
  };
}
