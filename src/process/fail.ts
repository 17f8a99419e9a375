import { CodedError, ERRORS, EXITS } from '../protocol/terms.js';
import { printableLines } from './printable.js';
import { inWords } from './system.js';

/**
 * Ends this process with an error's exit code and message. The name of an unexpected error is printed too.
 */
export function failWith(error: unknown): never {
  const coded = error instanceof CodedError;
  const message = coded ? error.message : inWords(error as Error);
  process.stderr.write(`bkv: ${printableLines(message)}\n`);
  process.exit(EXITS[coded ? ERRORS[error.code].exit : 'failed'].code);
}
