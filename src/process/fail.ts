import { CodedError, ERRORS, EXITS } from '../protocol/terms.js';

/** Ends this process with what an error of the table says; of another one its name is told as well. */
export function failWith(error: unknown): never {
  const { name, message } = error as Error;
  const coded = error instanceof CodedError;
  process.stderr.write(`bkv: ${coded ? message : `${name}: ${message}`}\n`);
  process.exit(EXITS[coded ? ERRORS[error.code].exit : 'failed'].code);
}
