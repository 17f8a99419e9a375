import type { Command } from 'commander';
import { several, whole, withAccount, withJson, withOpener } from '../flags.js';

export function openerCommands(program: Command): void {
  const opener = program
    .command('opener')
    .description('what opens a backup: passwords, digits, passkeys, contacts');
  withJson(
    withOpener(
      opener
        .command('list <backup>')
        .description('show what opens a backup, and when it was used last on this device'),
    ),
  ).action(async (backup: string, flags) => (await import('../opener.js')).list(backup, flags));
  withAccount(
    withOpener(
      opener
        .command('add <kind> <backup>')
        .description(
          'add a password, digits, a passkey or contacts that open a backup; nothing is uploaded again',
        ),
    ),
  )
    .option('--label <text>', 'what you call it')
    .option(
      '--out <path>',
      'digits: a file for them, in place of the screen; contacts: a folder for the pieces',
    )
    .option('--yes', 'digits: confirm that whatever reads standard output keeps them')
    .option('--name <person>', 'contacts: who gets a piece (again for each)', several)
    .option(
      '--page <url>',
      'passkey: the page of your app, which is opened in the browser (BKV_PAGE)',
      process.env.BKV_PAGE,
    )
    .option('--needed <n>', 'contacts: how many of them open the backup together', whole(2, 255), 2)
    .action(async (kind: string, backup: string, flags) =>
      (await import('../opener.js')).add(kind, backup, flags),
    );
  withJson(
    withOpener(
      opener
        .command('remove <backup> <opener>')
        .description('remove an opener: it opens nothing that is backed up later; the others stay'),
    ),
  )
    .option('--yes', 'do not ask')
    .action(async (backup: string, which: string, flags) =>
      (await import('../opener.js')).remove(backup, which, flags),
    );
}
