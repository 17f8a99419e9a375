import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { isRemembered, makeReminder } from '../client/index.js';
import { readState, statePath, writeState } from './state.js';
import { UsageError } from './terminal.js';

const nameOf = (account: string): string =>
  `reminder-${createHash('sha256').update(account).digest('hex').slice(0, 16)}`;

/** Keeps on this device what tells later whether a password is still known. */
export async function keep(account: string, password: string): Promise<void> {
  writeState(nameOf(account), await makeReminder(password));
}

/** @throws UsageError when this device has never registered the account */
export async function check(account: string, password: string): Promise<boolean> {
  const reminder = readState(nameOf(account));
  if (!reminder) throw new UsageError('no key was registered on this device; only the vault could tell');
  return isRemembered(reminder, password);
}

export function forget(account: string): void {
  rmSync(statePath(nameOf(account)), { force: true });
}
