import { createHash } from 'node:crypto';
import { isRemembered, makeReminder } from '../client/index.js';
import { UsageError } from './errors.js';
import { readState, removeState, writeState } from './state.js';

const nameOf = (account: string): string =>
  `reminder-${createHash('sha256').update(account).digest('hex').slice(0, 16)}`;

/** Keeps a reminder of a password on this device, if that is wanted or was wanted before. */
export async function keep(account: string, password: string, wanted: boolean): Promise<void> {
  if (!wanted && !readState(nameOf(account))) return;
  writeState(nameOf(account), await makeReminder(password));
}

/** @throws UsageError when this device keeps nothing for the account */
export async function check(account: string, password: string): Promise<boolean> {
  const reminder = readState(nameOf(account));
  if (!reminder)
    throw new UsageError(
      'this device keeps nothing of the password, so only the vault could tell; bkv key register and bkv key recover keep it with --remember',
    );
  return isRemembered(reminder, password);
}

export function forget(account: string): void {
  removeState(nameOf(account));
}
