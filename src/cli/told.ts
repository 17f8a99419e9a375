import { BackupError } from '../backup/index.js';
import { BkvError } from '../client/written.js';
import { inWords } from '../process/index.js';
import { CodedError, ERRORS, EXITS, type Exit } from '../protocol/terms.js';
import { StorageError } from '../storage/index.js';

/**
 * How the command ends for errors of the client library; all others end as `failed`. docs/cli.md is made from
 * this.
 */
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

/** If this command could not give the client an access token, why not; otherwise the error itself. */
const reasonOf = (error: Error): Error =>
  error instanceof BkvError && error.cause instanceof CodedError ? error.cause : error;

/** An error as it is told to the user, with its name if it is unexpected. */
export function told(thrown: Error): string {
  const error = reasonOf(thrown);
  const known = [CodedError, BkvError, BackupError, StorageError].some((kind) => error instanceof kind);
  return known ? error.message : inWords(error);
}

function exitOf(error: Error): Exit {
  if (error instanceof CodedError) return ERRORS[error.code].exit;
  return (error instanceof BkvError && CLIENT_EXITS[error.code]) || 'failed';
}

export const exitCode = (error: Error): number => EXITS[exitOf(reasonOf(error))].code;
