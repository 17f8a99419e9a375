import { closeSync, openSync } from 'node:fs';
import { createInterface, type Interface, type Key } from 'node:readline';
import { Writable } from 'node:stream';
import { ReadStream, WriteStream } from 'node:tty';
import { Interrupted, UsageError } from './errors.js';

/** A terminal with a user: what they type comes from `input`, what they are asked goes to `output`. */
interface Terminal {
  readonly input: ReadStream;
  readonly output: Writable;
  readonly close: () => void;
}

/** Whether a person can be asked: standard input is a terminal. */
export const isInteractive = (): boolean => process.stdin.isTTY === true;

/** The terminal of the process, even if its standard input or error is redirected. @throws UsageError */
function openTerminal(): Terminal {
  const opened: (ReadStream | WriteStream)[] = [];
  const open = <T extends ReadStream | WriteStream>(make: (fd: number) => T, flags: string): T => {
    const fd = openSync('/dev/tty', flags);
    try {
      const stream = make(fd);
      opened.push(stream);
      return stream;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  };
  try {
    const input = isInteractive() ? process.stdin : open((fd) => new ReadStream(fd), 'r');
    const output = process.stderr.isTTY ? process.stderr : open((fd) => new WriteStream(fd), 'w');
    return { input, output, close: () => opened.forEach((stream) => void stream.destroy()) };
  } catch {
    throw new UsageError(
      'there is no terminal to ask on, and standard input has no more lines; give each answer as a line of it',
    );
  }
}

let piped: AsyncIterator<string> | undefined;

async function pipedLine(): Promise<string | undefined> {
  piped ??= createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const { value, done } = await piped.next();
  return done ? undefined : value;
}

/**
 * Lines that came together with an earlier one, for example when several are pasted, and what was typed after
 * the last of them.
 */
const ahead: { lines: string[]; begun: string } = { lines: [], begun: '' };

/**
 * Makes Backspace delete a whole character: readline deletes one code point, but one key may have typed
 * several (an accent, a family of emoji).
 */
function deleteWholeCharacters(lines: Interface, input: ReadStream): () => void {
  const segmenter = new Intl.Segmenter();
  let rest = 0;
  const before = (_: string | undefined, key: Key | undefined) => {
    const last =
      key?.name === 'backspace'
        ? [...segmenter.segment(lines.line.slice(0, lines.cursor))].at(-1)
        : undefined;
    rest = last ? [...last.segment].length - 1 : 0;
  };
  const after = () => {
    const more = rest;
    rest = 0;
    for (let i = 0; i < more; i++) lines.write(null as never, { name: 'backspace' });
  };
  input.prependListener('keypress', before);
  input.on('keypress', after);
  return () => {
    input.off('keypress', before);
    input.off('keypress', after);
  };
}

/**
 * Asks on the terminal. Keys work as in a shell. Nothing is kept in a history, and nothing is shown unless
 * `echo` is set.
 */
async function askTerminal(prompt: string, echo = false): Promise<string> {
  const next = ahead.lines.shift();
  if (next !== undefined) return next;
  const { input, output, close } = openTerminal();
  const hangUp = () => {
    input.setRawMode(false);
    process.kill(process.pid, 'SIGHUP');
  };
  process.once('SIGHUP', hangUp);
  const muted = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({
    input,
    output: echo ? output : muted,
    terminal: true,
    historySize: 0,
    prompt,
  });
  // Only now has the terminal ceased to echo.
  if (echo) lines.prompt();
  else output.write(prompt);
  lines.write(ahead.begun);
  // If this is false, as within a paste, readline adds characters at the end of the line, wherever the cursor
  // is.
  Object.defineProperty(lines, 'isCompletionEnabled', { get: () => true, set: () => undefined });
  const restoreKeys = deleteWholeCharacters(lines, input);
  let answered = false;
  try {
    return await new Promise<string>((resolve, reject) => {
      // What was pasted after the line is read before the prompt ends.
      lines.once('line', (line) => {
        answered = true;
        lines.on('line', (more) => ahead.lines.push(more));
        setImmediate(resolve, line);
      });
      lines.once('SIGINT', () => reject(new Interrupted()));
      lines.once('close', () => reject(new UsageError('nothing was typed')));
      input.once('error', () => reject(new UsageError('the terminal went away')));
    });
  } finally {
    ahead.begun = lines.line;
    process.off('SIGHUP', hangUp);
    restoreKeys();
    lines.close();
    if (!(echo && answered)) output.write('\n');
    close();
  }
}

/**
 * Reads a secret from the terminal without echo, or a line of standard input if that is not a terminal and
 * has one.
 */
export async function readSecret(prompt: string): Promise<string> {
  const line = isInteractive() ? undefined : await pipedLine();
  return line ?? askTerminal(prompt);
}

/** Has the user at a terminal type something visible. @throws UsageError without a terminal */
export function readLine(prompt: string): Promise<string> {
  return askTerminal(prompt, true);
}

/**
 * Has the user at a terminal agree to a loss. @param instead the option that a script gives instead @throws
 * UsageError without a terminal, or when they do not agree
 */
export async function confirmLoss(loss: string, word: string, instead: string): Promise<void> {
  if (!isInteractive()) throw new UsageError(`${loss} If you want that, use ${instead}`);
  process.stderr.write(`${loss}\n`);
  if ((await readLine(`Type "${word}" to go on: `)).trim().toLowerCase() !== word)
    throw new UsageError('nothing was done');
}
