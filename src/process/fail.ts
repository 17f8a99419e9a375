import { CodedError, ERRORS, EXITS } from '../protocol/terms.js';
import { systemFault } from './system.js';

/** Ends this process with what an error says; of one that nobody foresaw its name is told as well. */
export function failWith(error: unknown): never {
  const { name, message } = error as Error;
  const coded = error instanceof CodedError;
  process.stderr.write(`bkv: ${coded ? message : (systemFault(error) ?? `${name}: ${message}`)}\n`);
  process.exit(EXITS[coded ? ERRORS[error.code].exit : 'failed'].code);
}
