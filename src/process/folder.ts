import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

/**
 * Makes a folder that only its owner may use, and those above it. Node.js's own function never ends where no
 * folders can be made, such as in /proc.
 */
export function makeFolder(path: string): void {
  const make = () => {
    try {
      mkdirSync(path, 0o700);
    } catch (error) {
      if (codeOf(error) !== 'EEXIST' || !statSync(path).isDirectory()) throw error;
    }
  };
  try {
    make();
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    makeFolder(dirname(path));
    make();
  }
}
