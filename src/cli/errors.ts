import { BackupError } from '../backup/index.js';
import { BkvError } from '../client/index.js';
import { StorageError } from '../storage/index.js';
import { UsageError } from './terminal.js';

/** Errors of code that only some commands load. */
const KNOWN = [
  'ProfileError',
  'TokenError',
  'PinRefused',
  'TokenShared',
  'LedgerCorrupt',
  'DatabaseError',
  'CustodyError',
  'TokenBackupError',
];

/** An error as a person is told of it: its name as well when nobody foresaw it. */
export function told(error: Error): string {
  const known =
    [UsageError, BkvError, BackupError, StorageError].some((kind) => error instanceof kind) ||
    KNOWN.includes(error.name);
  return known ? error.message : `${error.name}: ${error.message}`;
}

/** 78 (EX_CONFIG of sysexits.h) says that starting the daemon again would be in vain, or do harm. */
export function exitCode({ name }: Error): number {
  if (name === 'UsageError') return 2;
  if (name === 'WrongPassword') return 3;
  if (name === 'Locked') return 4;
  return name === 'TokenShared' || name === 'PinRefused' ? 78 : 1;
}
