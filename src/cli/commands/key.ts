import type { Command } from 'commander';
import { withAccount, withJson, withKeyFile, withOpener, withPasswordFile } from '../flags.js';

const withRemember = (command: Command): Command =>
  command.option(
    '--remember',
    'let bkv key check-password work on this device; a thief of the device could then try passwords without limit',
  );

export function keyCommands(program: Command): void {
  const key = program.command('key').description('make, show, register, recover or delete a backup key');
  key
    .command('new')
    .description('make a random key and show it once')
    .option('--out <file>', 'also keep it in this file')
    .action(async ({ out }) => (await import('../key.js')).make(out));
  withKeyFile(key.command('show').description('show a key as 64 digits with their check digits')).action(
    async ({ keyFile }) => (await import('../key.js')).show(keyFile),
  );
  withRemember(
    withAccount(
      withKeyFile(key.command('register').description('have the vault hold the key under a password')),
    ),
  )
    .option('--replace', 'give up the key that the vault holds for the account, without asking')
    .action(async (flags) => (await import('../key.js')).register(flags));
  withRemember(
    withPasswordFile(withAccount(key.command('recover').description('get the key back with the password'))),
  )
    .option('--out <file>', 'write it to this file instead of showing it')
    .option('--raw', 'print the 64 digits in one line, for another program')
    .action(async (flags) => (await import('../key.js')).recover(flags));
  withRemember(
    withAccount(
      key
        .command('change-password')
        .description('put a new password in place of the old one; the backup stays'),
    ),
  ).action(async (flags) => (await import('../key.js')).changePassword(flags));
  withAccount(
    key.command('to-digits').description('keep the key as 64 digits from now on; the vault forgets it'),
  )
    .option('--out <file>', 'write it to this file instead of showing it')
    .option('--yes', 'confirm that whatever reads standard output keeps the digits')
    .action(async (flags) => (await import('../key.js')).toDigits(flags));
  withJson(
    withAccount(
      key
        .command('check-password')
        .description('check on this device whether you still know the password; costs no attempt'),
    ),
  ).action(async (flags) => (await import('../key.js')).checkPassword(flags));
  withJson(
    withOpener(
      key
        .command('rotate <backup>')
        .description(
          'encrypt what is stored from now on under a new key; what opens the backup stays the same',
        ),
    ),
  ).action(async (backup: string, flags) => (await import('../key.js')).rotateKey(backup, flags));
  withAccount(key.command('delete').description('make the key in the vault unreachable for ever'))
    .option('--yes', 'do not ask')
    .action(async (flags) => (await import('../key.js')).deleteKey(flags));
}
