import { CodedError, ERRORS, EXITS } from '../protocol/terms.js';
import { systemFault } from './system.js';

/**
 * Ends this process with an error's exit code and message. The name of an unexpected error is printed too.
 */
export function failWith(error: unknown): never {
  const { name, message } = error as Error;
  const coded = error instanceof CodedError;
  process.stderr.write(`bkv: ${coded ? message : (systemFault(error) ?? `${name}: ${message}`)}\n`);
  process.exit(EXITS[coded ? ERRORS[error.code].exit : 'failed'].code);
}
