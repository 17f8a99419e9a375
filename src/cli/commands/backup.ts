import { type Command, Option } from 'commander';
import { UsageError } from '../errors.js';
import { several, whole, withJson, withOpener } from '../flags.js';

function patterns(value: string, before?: string[]): string[] {
  if (/^[./]*$/.test(value)) throw new UsageError(`--exclude "${value}" matches nothing in the folder`);
  return several(value, before);
}

const withOrigin = (command: Command): Command =>
  command
    .option('--host <name>', 'only snapshots of this device')
    .option('--source <folder>', 'only snapshots of this folder');

export function backupCommands(program: Command): void {
  withJson(
    withOpener(
      program
        .command('backup <folder> <backup>')
        .description('encrypt a folder into a backup; only what changed since the last time is stored')
        .option(
          '--exclude <pattern>',
          'leave this out: *.tmp, node_modules, /cache (again for more)',
          patterns,
        )
        .option('--with-caches', 'include folders that are marked as caches (CACHEDIR.TAG)')
        .option('--force', 'read every file, even if its size and times are unchanged')
        .option('--allow-empty', 'accept that the folder holds no file')
        .option('--host <name>', "this device's name in the snapshot; without it the system's")
        .option('--accept-older-keys', 'write even if this device has seen newer keys of this backup'),
    ),
  ).action(async (folder: string, destination: string, flags) =>
    (await import('../backup.js')).run(folder, destination, flags),
  );

  withJson(
    withOrigin(
      withOpener(
        program
          .command('restore <backup> <folder>')
          .description('decrypt a backup into a new folder')
          .option(
            '--at <snapshot>',
            'which snapshot: a name from bkv snapshots, or a time; without it the newest',
          )
          .option('--only <path>', 'only this file or folder of the backup (again for more)', several)
          .option('--resume', 'go on with a restore into this folder that was cut off')
          .addOption(
            new Option('--overwrite <which>', 'restore among other files, replacing these').choices([
              'never',
              'older',
              'always',
            ]),
          )
          .option('--owners', 'restore owners too, and the bits setuid and setgid; needs root'),
      ),
    ),
  ).action(async (source: string, folder: string, flags) =>
    (await import('../backup.js')).restoreTo(source, folder, flags),
  );

  withJson(
    withOrigin(
      withOpener(program.command('snapshots <backup>').description('list what was backed up, and when')),
    ),
  ).action(async (source: string, flags) => (await import('../backup.js')).list(source, flags));

  withJson(
    withOpener(
      program
        .command('verify <backup>')
        .description('read a backup through and name every file that could not be restored')
        .option('--repair', 'delete what is damaged, so that the next backup stores it again'),
    ),
  ).action(async (source: string, flags) => (await import('../backup.js')).verify(source, flags));

  withJson(
    withOpener(
      program
        .command('prune <backup>')
        .description('delete old snapshots, and what only they need')
        .requiredOption(
          '--keep <n>',
          'how many of the newest snapshots of each device and folder stay',
          whole(1, 999_999_999),
        )
        .option(
          '--now',
          'delete unneeded parts at once, not a day later; backups that other devices are making may have to start again',
        ),
    ),
  ).action(async (source: string, flags) => (await import('../backup.js')).reduce(source, flags));

  withJson(
    withOpener(
      program
        .command('migrate <backup>')
        .description('move a backup from version 1 to version 2; nothing is uploaded again'),
    ),
  ).action(async (source: string, flags) => (await import('../backup.js')).move(source, flags));
}
