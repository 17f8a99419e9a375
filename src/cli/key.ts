import { rotate } from '../backup/index.js';
import type { FleetOutcome, Recovery } from '../client/index.js';
import { formatKey, newBackupKey } from '../client/written.js';
import { accountClient, accountName } from './account.js';
import { endAs } from './errors.js';
import { expectNew } from './file.js';
import type { AccountFlags, OpenerFlags } from './flags.js';
import { expectKept, type GiveOutOptions, giveOut } from './give-out.js';
import { type Client, othersOf, recoverKey, restOf, tellFailed, tellOutcome } from './held-key.js';
import { readKey, writeKey } from './key-file.js';
import { readOpener } from './opener-input.js';
import { readNewPassword, readOldPassword, readPassword } from './passwords.js';
import * as reminder from './reminder.js';
import { report } from './report.js';
import { say } from './say.js';
import { look, seenEpoch } from './seen.js';
import { withStorage } from './storages.js';
import { confirmLoss } from './terminal.js';

interface Remember {
  /** whether this device keeps what `bkv key check-password` needs */
  readonly remember?: boolean;
}
type RegisterFlags = AccountFlags & Remember & { keyFile?: string; replace?: boolean };
type RecoverFlags = AccountFlags & Remember & { out?: string; raw?: boolean; passwordFile?: string };

const lossAt = (who: string): string =>
  `${who} holds a key for this account. Without it, what was backed up with it cannot be opened, unless you have its 64 digits.`;
const LOSS = lossAt('The vault');

/** @returns whether the key that the account may have is given up */
async function mayReplace(client: Client, replace: boolean): Promise<boolean> {
  if (replace) return true;
  const status = await client.status();
  const [other] = othersOf(status);
  // The remains of a registration that was cut off open nothing.
  if (status.state !== 'registered' && other === undefined) return restOf(status).length > 0;
  const loss = status.state === 'registered' ? LOSS : lossAt(`${other}, by itself,`);
  await confirmLoss(`${loss} Another key would take its place for ever.`, 'replace', '--replace');
  return true;
}

/** Makes a random key and shows it. @param out a file that also keeps it */
export function make(out: string | undefined): void {
  const made = newBackupKey();
  if (out) writeKey(out, made);
  say(formatKey(made));
}

export const show = async (file: string | undefined): Promise<void> => say(formatKey(await readKey(file)));

export async function register({ keyFile, replace, remember, ...flags }: RegisterFlags): Promise<void> {
  const client = await accountClient(flags);
  const mayBeReplaced = await mayReplace(client, replace === true);
  const backupKey = await readKey(keyFile);
  const password = await readNewPassword();
  const done = await client.register(password, backupKey, { replace: mayBeReplaced });
  tellOutcome(done ?? {}, 'the registration is not finished');
  await reminder.keep(await accountName(flags), password, remember === true);
  say('The vault holds the key. It opens with the password, and with nothing else.');
}

export async function recover({ out, raw, remember, passwordFile, ...flags }: RecoverFlags): Promise<void> {
  expectNew(out);
  const client = await accountClient(flags);
  const password = await readPassword({ ...(passwordFile !== undefined && { passwordFile }) });
  const recovered = await recoverKey(client, password);
  if (out !== undefined) writeKey(out, recovered);
  await reminder.keep(await accountName(flags), password, remember === true);
  const digits = raw ? Buffer.from(recovered).toString('hex') : formatKey(recovered);
  say(out === undefined ? digits : `The key is in ${out}.`);
}

export async function changePassword({ remember, ...flags }: AccountFlags & Remember): Promise<void> {
  const client = await accountClient(flags);
  const old = await readOldPassword('Old password: ');
  const password = await readNewPassword();
  const done: Pick<Recovery, 'failedAttempts'> & Partial<FleetOutcome> = await client.changePassword(
    old,
    password,
  );
  await reminder.keep(await accountName(flags), password, remember === true);
  tellFailed(done.failedAttempts, 'If that was not you, somebody guessed at the old password.');
  tellOutcome(done, 'the change is not finished');
  say(
    done.pending && done.pending.length > 0
      ? 'The new password opens the key; the old one may too, until the change is finished.'
      : 'The new password opens the key, the old one does not any more.',
  );
}

export async function toDigits({ out, yes, ...flags }: AccountFlags & GiveOutOptions): Promise<void> {
  const where = { ...(out !== undefined && { out }), ...(yes !== undefined && { yes }) };
  expectKept(where);
  const client = await accountClient(flags);
  const recovered = await recoverKey(client, await readOldPassword());
  try {
    await giveOut(recovered, where);
  } catch (error) {
    process.stderr.write('The vault still holds the key.\n');
    throw error;
  }
  await client.delete();
  reminder.forget(await accountName(flags));
  process.stderr.write(
    'The vault has forgotten the key. From now on only the digits open what it encrypted.\n',
  );
}

export async function rotateKey(
  backup: string,
  { json, ...flags }: OpenerFlags & { json?: boolean },
): Promise<void> {
  const key = await readOpener(flags);
  await withStorage(backup, async (storage) => {
    const stay = await rotate(storage, key, { seenEpoch: seenEpoch(key) });
    await look(storage, key);
    report(json, { openers: stay.length }, () => [
      `The backup has a new key, which ${stay.length === 1 ? 'its opener opens' : `its ${stay.length} openers open`}. Nothing was uploaded again.`,
    ]);
  });
}

export async function deleteKey({ yes, ...flags }: AccountFlags & { yes?: boolean }): Promise<void> {
  const client = await accountClient(flags);
  if (!yes) await confirmLoss(LOSS, 'delete', '--yes');
  await client.delete();
  reminder.forget(await accountName(flags));
  say('The vault has forgotten the key.');
}

export async function checkPassword({ json, ...flags }: AccountFlags & { json?: boolean }): Promise<void> {
  const right = await reminder.check(await accountName(flags), await readOldPassword());
  if (!right) endAs('wrongPassword');
  report(json, { right }, () => [
    right
      ? 'That is your password.'
      : 'That is not your password. While this device has the key, choose a new one: bkv key register --replace',
  ]);
}
