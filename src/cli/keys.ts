import { readFileSync, statSync } from 'node:fs';
import type { Command } from 'commander';
import { type FleetClient, formatKey, newBackupKey, VaultClient } from '../client/index.js';
import { accountClient, accountName, withAccount } from './account.js';
import { readKey, withKeyFile, writeKey } from './key-file.js';
import * as reminder from './reminder.js';
import { say } from './say.js';
import { readNewPassword, readSecret, UsageError } from './terminal.js';

const withPasswordFile = (command: Command): Command =>
  command.option('--password-file <file>', 'file with the password, for a program that cannot ask');

/** The password, from a file or as any secret. */
async function readPassword({ passwordFile }: { passwordFile?: string }): Promise<string> {
  if (passwordFile === undefined) return readSecret('Password: ');
  if (statSync(passwordFile).mode & 0o077)
    throw new UsageError(`others can read ${passwordFile}. Run: chmod 600 ${passwordFile}`);
  return readFileSync(passwordFile, 'utf8').replace(/\r?\n$/, '');
}

async function recoverKey(client: VaultClient | FleetClient, password: string): Promise<Uint8Array> {
  if (client instanceof VaultClient) return client.recover(password);
  const { backupKey, liars, repaired } = await client.recover(password);
  for (const url of liars) process.stderr.write(`warning: ${url} gave a wrong answer; do not trust it\n`);
  if (repaired !== undefined)
    process.stderr.write(`A vault had no share: all were dealt anew, and ${repaired} vaults hold one now.\n`);
  return backupKey;
}

export function keyCommands(program: Command): void {
  const key = program.command('key').description('make, show, register, recover or delete a backup key');
  key
    .command('new')
    .description('make a random key and show it once')
    .option('--out <file>', 'also keep it in this file')
    .action(({ out }) => {
      const made = newBackupKey();
      if (out) writeKey(out, made);
      say(formatKey(made));
    });
  withKeyFile(key.command('show').description('show a key as 64 digits with their check digits')).action(
    async ({ keyFile }) => say(formatKey(await readKey(keyFile))),
  );
  withAccount(
    withKeyFile(key.command('register').description('have the vault hold the key under a password')),
  ).action(async (options) => {
    const client = await accountClient(options);
    const backupKey = await readKey(options.keyFile);
    const password = await readNewPassword();
    await client.register(password, backupKey);
    await reminder.keep(await accountName(options), password);
    say('The vault holds the key. It opens with the password, and with nothing else.');
  });
  withPasswordFile(withAccount(key.command('recover').description('get the key back with the password')))
    .option('--out <file>', 'write it to this file instead of showing it')
    .option('--raw', 'print the 64 digits in one line, for another program')
    .action(async (options) => {
      const password = await readPassword(options);
      const recovered = await recoverKey(await accountClient(options), password);
      if (!options.raw) await reminder.keep(await accountName(options), password);
      if (options.out) writeKey(options.out, recovered);
      const digits = options.raw ? Buffer.from(recovered).toString('hex') : formatKey(recovered);
      say(options.out ? `The key is in ${options.out}.` : digits);
    });
  withAccount(
    key
      .command('change-password')
      .description('put a new password in place of the old one; the backup stays'),
  ).action(async (options) => {
    const client = await accountClient(options);
    const old = await readSecret('Old password: ');
    const password = await readNewPassword();
    await client.changePassword(old, password);
    await reminder.keep(await accountName(options), password);
    say('The new password opens the key, the old one does not any more.');
  });
  withAccount(
    key.command('to-digits').description('keep the key as 64 digits from now on; the vault forgets it'),
  )
    .option('--out <file>', 'write it to this file instead of showing it')
    .action(async (options) => {
      const client = await accountClient(options);
      const recovered = await recoverKey(client, await readSecret('Password: '));
      if (options.out) writeKey(options.out, recovered);
      else say(formatKey(recovered));
      await client.delete();
      reminder.forget(await accountName(options));
      say('The vault has forgotten the key; these digits are all there is.');
    });
  withAccount(
    key
      .command('check-password')
      .description('do you still know it? asked on this device alone, and costs no attempt'),
  ).action(async (options) => {
    if (await reminder.check(await accountName(options), await readSecret('Password: ')))
      return say('That is your password.');
    say('That is not your password. While this device has the key, choose a new one: bkv key register');
    process.exitCode = 3;
  });
  withAccount(key.command('delete').description('make the key in the vault unreachable for ever')).action(
    async (options) => {
      await (await accountClient(options)).delete();
      say('The vault has forgotten the key.');
    },
  );
}
