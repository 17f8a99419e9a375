import { CommanderError } from 'commander';
import { BackupError } from '../backup/index.js';
import { BkvError } from '../client/index.js';
import { CodedError, ERRORS, EXITS, type Exit } from '../protocol/index.js';
import { StorageError } from '../storage/index.js';

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

/** How the command ends with what the client library throws; as failed with all others. docs/cli.md is made from this. */
export const CLIENT_EXITS: Readonly<Record<string, Exit>> = {
  EmptyPassword: 'usage',
  InvalidFleet: 'usage',
  InvalidKey: 'usage',
  InvalidPassword: 'usage',
  InvalidPiece: 'usage',
  InvalidServerKey: 'usage',
  InvalidUrl: 'usage',
  KeyExists: 'usage',
  InvalidThreshold: 'usage',
  PasswordTooLong: 'usage',
  TooFewPieces: 'usage',
  WrongPassword: 'wrongPassword',
  Locked: 'locked',
  Undecided: 'undecided',
};

/** An error as a person is told of it: its name as well when nobody foresaw it. */
export function told(error: Error): string {
  const known = [CodedError, BkvError, BackupError, StorageError].some((kind) => error instanceof kind);
  return known ? error.message : `${error.name}: ${error.message}`;
}

function exitOf(error: Error): Exit {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 'done' : 'usage';
  if (error instanceof CodedError) return ERRORS[error.code].exit;
  return (error instanceof BkvError && CLIENT_EXITS[error.code]) || 'failed';
}

export const exitCode = (error: Error): number => EXITS[exitOf(error)].code;

/** Has the command end so once it is through. */
export function endAs(exit: Exit): void {
  process.exitCode = EXITS[exit].code;
}
