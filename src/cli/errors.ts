import { BackupError } from '../backup/index.js';
import { BkvError } from '../client/index.js';
import { CodedError, ERRORS } from '../protocol/index.js';
import { StorageError } from '../storage/index.js';

/** An error as a person is told of it: its name as well when nobody foresaw it. */
export function told(error: Error): string {
  const known = [CodedError, BkvError, BackupError, StorageError].some((kind) => error instanceof kind);
  return known ? error.message : `${error.name}: ${error.message}`;
}

/** Exit code of what was done, but not for everything that it was asked for. */
export const INCOMPLETE = 5;

export function exitCode(error: Error): number {
  if (error instanceof CodedError) return ERRORS[error.code].exit;
  if (!(error instanceof BkvError)) return 1;
  return { WrongPassword: 3, Locked: 4 }[error.code] ?? 1;
}
