import type { Command } from 'commander';
import { whole, withJson } from '../flags.js';

const withToken = (command: Command): Command =>
  command
    .option('--profile <file>', 'a file of hsm-config/; without one the token of the data folder')
    .option('--data <folder>', "the vault's data folder", 'data');

const withCustodians = (command: Command): Command =>
  withToken(command).option(
    '--custodians <file>',
    'file of the custodians, whose passphrases are asked for in place of a PIN',
  );

export function tokenCommands(program: Command): void {
  withJson(withToken(program.command('doctor')))
    .description('try everything that the vault needs of a token, with throw-away objects')
    .option('--objects <n>', 'how many data objects of 4 KB to try to hold', whole(0, 1_000_000), 300)
    .action(
      async ({ objects, json, ...flags }) =>
        await (await import('../doctor.js')).doctor(flags, objects, json),
    );

  const audit = program.command('audit').description('look into the audit log');
  withJson(withToken(audit.command('verify')))
    .description("check the audit log: every line is chained, every seal is the token's, nothing is missing")
    .option('--log <file>', 'without it audit.log of the data folder')
    .action(async ({ log, json, ...flags }) => (await import('../audit.js')).auditVerify(flags, log, json));

  const token = program.command('token').description('look after a token');
  withJson(withCustodians(token.command('init')))
    .description('make a token and the keys that it lacks; what is there already stays')
    .option('--so-pin-file <file>', "file with the security officer's PIN; without it the PIN is asked for")
    .option(
      '--backup-key <file>',
      'public key of the backup token: keys may leave this token for that one only',
    )
    .action(async ({ soPinFile, backupKey, json, ...flags }) =>
      (await import('../token.js')).init(flags, { soPinFile, backupKey, json }),
    );
  withJson(token.command('custodians <file>'))
    .description('share out the PINs of a ceremony among custodians, each with a passphrase')
    .requiredOption('--threshold <m>', 'how many of them are needed', whole(2, 255))
    .requiredOption('--count <n>', 'how many there are', whole(2, 255))
    .action(async (file: string, { threshold, count, json }) =>
      (await import('../ceremony.js')).appoint(file, threshold, count, json),
    );
  withJson(withCustodians(token.command('init-backup')))
    .description('make a backup token, and write its public key to a file')
    .requiredOption('--out <file>', 'where its public key goes (PEM)')
    .action(async ({ out, json, ...flags }) => (await import('../ceremony.js')).initBackup(flags, out, json));
  withJson(withCustodians(token.command('rehearse <backup>')))
    .description('try every key of a backup in the backup token, and leave nothing behind')
    .action(async (file: string, { json, ...flags }) =>
      (await import('../ceremony.js')).rehearse(flags, file, json),
    );
  withJson(withCustodians(token.command('restore <backup>')))
    .description("turn the backup token into the vault's; every account then has one attempt")
    .action(async (file: string, { json, ...flags }) =>
      (await import('../ceremony.js')).restore(flags, file, json),
    );
  withJson(token.command('shred'))
    .description(
      'destroy the page keys of ended accounts in a running vault, sealing the living ones under fresh keys',
    )
    .option('--admin <host:port>', "the vault's admin address", '127.0.0.1:8201')
    .option('--all', 'every page key, even if no account on the page has ended')
    .option(
      '--abandon-lost',
      'end the accounts whose records are lost; otherwise they keep their page key alive',
    )
    .action(async (options) => (await import('../shred.js')).shred(options));
}
