import { CodedError, ERRORS, EXITS } from '../protocol/terms.js';
import { inWords } from './system.js';

/**
 * Ends this process with an error's exit code and message. The name of an unexpected error is printed too.
 */
export function failWith(error: unknown): never {
  const coded = error instanceof CodedError;
  process.stderr.write(`bkv: ${coded ? error.message : inWords(error as Error)}\n`);
  process.exit(EXITS[coded ? ERRORS[error.code].exit : 'failed'].code);
}
