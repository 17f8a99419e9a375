import { createInterface } from 'node:readline';
import { StringDecoder } from 'node:string_decoder';

/** A command was used wrongly, or what it needs is missing. Ends with exit code 2. */
export class UsageError extends Error {
  override name = 'UsageError';
}

let pipedLines: AsyncIterator<string> | undefined;

async function pipedLine(): Promise<string> {
  pipedLines ??= createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const { value, done } = await pipedLines.next();
  if (done) throw new UsageError('standard input ended; give the secret as a line of it');
  return value;
}

/** Reads a secret from the terminal without echo, or a line of standard input when that is no terminal. */
export async function readSecret(prompt: string): Promise<string> {
  const { stdin, stderr } = process;
  if (!stdin.isTTY) return pipedLine();
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
    stderr.write('\n');
  }
}

/** Asks for a new password, twice on a terminal. */
export async function readNewPassword(): Promise<string> {
  const password = await readSecret('New password: ');
  if (process.stdin.isTTY && (await readSecret('Once more:    ')) !== password)
    throw new UsageError('the two passwords differ');
  return password;
}

/** A bar on a terminal; nothing elsewhere. */
export function progressBar(label: string): (done: number, total: number) => void {
  if (!process.stderr.isTTY) return () => undefined;
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
