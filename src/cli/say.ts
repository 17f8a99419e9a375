import { fstatSync, fsyncSync, writeSync } from 'node:fs';
import { UsageError } from './errors.js';

/** Prints a line. */
export type Say = (text: string) => void;

const STDOUT = 1;
const pause = new Int32Array(new SharedArrayBuffer(4));

function writeAll(content: Buffer): void {
  for (let done = 0; done < content.length; ) {
    try {
      done += writeSync(STDOUT, content, done);
    } catch (error) {
      // EAGAIN: a non-blocking pipe or terminal is full.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(pause, 0, 0, 10);
    }
  }
}

/** Prints a line, which is completely written when this returns. @throws UsageError when nobody reads it */
export const say: Say = (text) => {
  try {
    writeAll(Buffer.from(`${text}\n`));
  } catch (error) {
    throw new UsageError(`standard output cannot be written (${(error as NodeJS.ErrnoException).code})`);
  }
};

/** Whether standard output is a file, whose content can be synced. */
export const saysToFile = (): boolean => fstatSync(STDOUT).isFile();

/** Syncs standard output. @throws UsageError when what was printed to a file may not be on the disk */
export function syncSaid(): void {
  try {
    fsyncSync(STDOUT);
  } catch (error) {
    throw new UsageError(`standard output cannot be synced (${(error as NodeJS.ErrnoException).code})`);
  }
}

export const sayJson = (value: unknown): void => say(JSON.stringify(value, undefined, 2));
