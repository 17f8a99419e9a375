import { CommanderError } from 'commander';
import { BackupError } from '../backup/index.js';
import { BkvError } from '../client/index.js';
import { CodedError, ERRORS } from '../protocol/index.js';
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

/** Exit codes of what the client library throws; 1 for all others. docs/cli.md is made from them. */
export const EXIT_CODES: Readonly<Record<string, number>> = {
  EmptyPassword: 2,
  InvalidFleet: 2,
  InvalidKey: 2,
  InvalidPassword: 2,
  InvalidPiece: 2,
  InvalidServerKey: 2,
  InvalidUrl: 2,
  KeyExists: 2,
  InvalidThreshold: 2,
  PasswordTooLong: 2,
  TooFewPieces: 2,
  WrongPassword: 3,
  Locked: 4,
  Undecided: 6,
};

/** An error as a person is told of it: its name as well when nobody foresaw it. */
export function told(error: Error): string {
  const known = [CodedError, BkvError, BackupError, StorageError].some((kind) => error instanceof kind);
  return known ? error.message : `${error.name}: ${error.message}`;
}

/** Exit code of what was done, but not for everything that it was asked for. */
export const INCOMPLETE = 5;

export function exitCode(error: Error): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : ERRORS.usage.exit;
  if (error instanceof CodedError) return ERRORS[error.code].exit;
  return error instanceof BkvError ? (EXIT_CODES[error.code] ?? 1) : 1;
}
