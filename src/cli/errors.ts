import { CodedError, EXITS, type Exit } from '../protocol/terms.js';

/** A command was used wrongly, or what it needs is missing. Ends with exit code 2. */
export class UsageError extends CodedError {
  constructor(message: string) {
    super('usage', message);
  }
}

/** A person pressed Ctrl-C. */
export class Interrupted extends CodedError {
  constructor(message = 'interrupted; nothing was done') {
    super('interrupted', message);
  }
}

/** Sets the exit code with which the command ends. */
export function endAs(exit: Exit): void {
  process.exitCode = EXITS[exit].code;
}
