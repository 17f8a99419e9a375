#!/usr/bin/env node
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { BackupError } from '../backup/index.js';
import { BkvError, FleetClient, formatKey, newBackupKey, parseKey, VaultClient } from '../client/index.js';
import { StorageError } from '../storage/index.js';
import * as backups from './backups.js';
import * as reminder from './reminder.js';
import { readNewPassword, readSecret, type Say, UsageError } from './terminal.js';
import { version } from './version.js';

const say: Say = (text) => {
  process.stdout.write(`${text}\n`);
};

/** The backup key, from a file or from the terminal. */
async function readKey(file: string | undefined): Promise<Uint8Array> {
  if (file === undefined) return parseKey(await readSecret('Backup key (64 digits): '));
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  return parseKey(text);
}

function writeKey(file: string, key: Uint8Array): void {
  try {
    writeFileSync(file, `${formatKey(key)}\n`, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    const reason =
      (error as NodeJS.ErrnoException).code === 'EEXIST'
        ? 'is there already; name another file'
        : 'cannot be written';
    throw new UsageError(`${file} ${reason}`);
  }
}

/** The password, from a file or as any secret. */
async function readPassword({ passwordFile }: { passwordFile?: string }): Promise<string> {
  if (passwordFile === undefined) return readSecret('Password: ');
  if (statSync(passwordFile).mode & 0o077)
    throw new UsageError(`others can read ${passwordFile}. Run: chmod 600 ${passwordFile}`);
  return readFileSync(passwordFile, 'utf8').replace(/\r?\n$/, '');
}

type VaultFlags = { vault?: string; serverKey?: string; tokenFile?: string; fleet?: string };

const accessToken = ({ tokenFile }: VaultFlags): string => {
  if (tokenFile === undefined) {
    if (process.env.BKV_ACCESS_TOKEN) return process.env.BKV_ACCESS_TOKEN;
    throw new UsageError("give the account's JWT: --token-file FILE, or BKV_ACCESS_TOKEN");
  }
  if (statSync(tokenFile).mode & 0o077) process.stderr.write(`warning: others can read ${tokenFile}\n`);
  return readFileSync(tokenFile, 'utf8').trim();
};

/** The client of a fleet, or of a single vault; both do the same for an account. */
async function vaultClient(flags: VaultFlags): Promise<VaultClient | FleetClient> {
  const { vault, serverKey, fleet } = flags;
  if (fleet)
    return new FleetClient({
      ...(await import('./fleet.js')).loadFleet(fleet),
      accessToken: () => accessToken(flags),
    });
  if (!vault) throw new UsageError('name the vault: --vault URL (BKV_VAULT), or --fleet FILE (BKV_FLEET)');
  if (!serverKey)
    throw new UsageError('name the public key that the vault must have: --server-key KEY, or BKV_SERVER_KEY');
  return new VaultClient({
    url: vault,
    serverPublicKey: Buffer.from(serverKey, 'base64url'),
    accessToken: () => accessToken(flags),
  });
}

async function recoverKey(client: VaultClient | FleetClient, password: string): Promise<Uint8Array> {
  if (client instanceof VaultClient) return client.recover(password);
  const { backupKey, liars, repaired } = await client.recover(password);
  for (const url of liars) process.stderr.write(`warning: ${url} gave a wrong answer; do not trust it\n`);
  if (repaired !== undefined)
    process.stderr.write(`A vault had no share: all were dealt anew, and ${repaired} vaults hold one now.\n`);
  return backupKey;
}

const withVault = (command: Command): Command =>
  command
    .option('--vault <url>', 'address of the vault (BKV_VAULT)', process.env.BKV_VAULT)
    .option(
      '--server-key <key>',
      "the vault's static public key, base64url (BKV_SERVER_KEY)",
      process.env.BKV_SERVER_KEY,
    )
    .option('--fleet <file>', 'fleet file, in place of a single vault (BKV_FLEET)', process.env.BKV_FLEET)
    .option('--token-file <file>', "file with the account's JWT (or the variable BKV_ACCESS_TOKEN)");

const withPasswordFile = (command: Command): Command =>
  command.option('--password-file <file>', 'file with the password, for a program that cannot ask');

/** What tells the reminders of one account from those of others on this device. */
const reminderOf = async (flags: VaultFlags): Promise<string> => {
  const { decodeJwt } = await import('jose');
  return `${flags.fleet ?? flags.vault} ${decodeJwt(accessToken(flags)).sub}`;
};

const withKeyFile = (command: Command): Command =>
  command.option('--key-file <file>', 'file with the 64 digits; without it they are asked for');

const program = new Command('bkv')
  .description('End-to-end encrypted backups, with a key that a password opens')
  .version(version)
  .showHelpAfterError();

program
  .command('serve')
  .description('run a vault; without a configuration on SoftHSM2 and SQLite in the data folder')
  .option('--config <file>', 'YAML file, see docs/operator.md')
  .option('--data <folder>', 'where the vault keeps its data', 'data')
  .option('--listen <host:port>', 'address of the API')
  .option('--admin <host:port>', 'address of metrics and health')
  .action(async (options) => (await import('../daemon/serve.js')).serve(options));

program
  .command('jwt')
  .description('print a JWT of the embedded issuer, to try the vault out')
  .requiredOption('--account <id>', 'the account')
  .option('--data <folder>', "the vault's data folder", 'data')
  .option('--seconds <n>', 'how long it is good', '3600')
  .action(async ({ data, account, seconds }) =>
    say(await (await import('../daemon/serve.js')).embeddedJwt(data, account, Number(seconds))),
  );

withKeyFile(
  program
    .command('backup <folder> <backup>')
    .description('encrypt a folder into a backup; only what changed since the last time is stored'),
).action(async (folder: string, destination: string, { keyFile }) =>
  backups.run(folder, destination, await readKey(keyFile), say),
);

withKeyFile(
  program
    .command('restore <backup> <folder>')
    .description('decrypt a backup into a new folder')
    .option('--at <snapshot>', 'a snapshot of bkv snapshots, or a time; without it the newest'),
).action(async (source: string, folder: string, { keyFile, at }) =>
  backups.restoreTo(source, folder, await readKey(keyFile), at, say),
);

withKeyFile(program.command('snapshots <backup>').description('list what was backed up, and when')).action(
  async (source: string, { keyFile }) => backups.list(source, await readKey(keyFile), say),
);

withKeyFile(
  program
    .command('verify <backup>')
    .description('read a backup through and name every file that could not be restored'),
).action(async (source: string, { keyFile }) => backups.check(source, await readKey(keyFile), say));

withKeyFile(
  program
    .command('prune <backup>')
    .description('delete old snapshots, and what only they need')
    .requiredOption('--keep <n>', 'how many of the newest snapshots stay'),
).action(async (source: string, { keyFile, keep }) =>
  backups.reduce(source, await readKey(keyFile), Number(keep), say),
);

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
withVault(
  withKeyFile(key.command('register').description('have the vault hold the key under a password')),
).action(async (options) => {
  const client = await vaultClient(options);
  const backupKey = await readKey(options.keyFile);
  const password = await readNewPassword();
  await client.register(password, backupKey);
  await reminder.keep(await reminderOf(options), password);
  say('The vault holds the key. It opens with the password, and with nothing else.');
});
withPasswordFile(withVault(key.command('recover').description('get the key back with the password')))
  .option('--out <file>', 'write it to this file instead of showing it')
  .option('--raw', 'print the 64 digits in one line, for another program')
  .action(async (options) => {
    const password = await readPassword(options);
    const recovered = await recoverKey(await vaultClient(options), password);
    if (!options.raw) await reminder.keep(await reminderOf(options), password);
    if (options.out) writeKey(options.out, recovered);
    const digits = options.raw ? Buffer.from(recovered).toString('hex') : formatKey(recovered);
    say(options.out ? `The key is in ${options.out}.` : digits);
  });
withVault(
  key.command('change-password').description('put a new password in place of the old one; the backup stays'),
).action(async (options) => {
  const client = await vaultClient(options);
  const old = await readSecret('Old password: ');
  const password = await readNewPassword();
  await client.changePassword(old, password);
  await reminder.keep(await reminderOf(options), password);
  say('The new password opens the key, the old one does not any more.');
});
withVault(key.command('to-digits').description('keep the key as 64 digits from now on; the vault forgets it'))
  .option('--out <file>', 'write it to this file instead of showing it')
  .action(async (options) => {
    const client = await vaultClient(options);
    const recovered = await recoverKey(client, await readSecret('Password: '));
    if (options.out) writeKey(options.out, recovered);
    else say(formatKey(recovered));
    await client.delete();
    reminder.forget(await reminderOf(options));
    say('The vault has forgotten the key; these digits are all there is.');
  });
withVault(
  key
    .command('check-password')
    .description('do you still know it? asked on this device alone, and costs no attempt'),
).action(async (options) => {
  if (await reminder.check(await reminderOf(options), await readSecret('Password: ')))
    return say('That is your password.');
  say('That is not your password. While this device has the key, choose a new one: bkv key register');
  process.exitCode = 3;
});
withVault(key.command('delete').description('make the key in the vault unreachable for ever')).action(
  async (options) => {
    await (await vaultClient(options)).delete();
    say('The vault has forgotten the key.');
  },
);

const fleet = program.command('fleet').description('look after the vaults of a fleet');
fleet
  .command('pin <urls...>')
  .description(
    'ask vaults for their keys and print a fleet file; compare the keys with what their operators say',
  )
  .requiredOption('--threshold <n>', 'how many vaults must answer: more than half')
  .action(async (urls: string[], { threshold }) =>
    say(await (await import('./fleet.js')).pinFleet(urls, Number(threshold))),
  );
fleet
  .command('check')
  .description('show the state of each vault, and whether its keys are the pinned ones')
  .requiredOption('--fleet <file>', 'fleet file (BKV_FLEET)', process.env.BKV_FLEET)
  .action(async ({ fleet }) => {
    const { threshold, vaults } = (await import('./fleet.js')).loadFleet(fleet);
    const checked = await new FleetClient({ threshold, vaults, accessToken: () => '' }).check();
    for (const { url, state, detail } of checked) say(`${url}  ${state}${detail ? `: ${detail}` : ''}`);
    const good = checked.filter(({ state }) => state === 'ok').length;
    say(`${good} of ${vaults.length} vaults answer, and ${threshold} are needed`);
    if (good < threshold || checked.some(({ state }) => state === 'another identity')) process.exitCode = 1;
  });

const withToken = (command: Command): Command =>
  command
    .option('--profile <file>', 'a file of hsm-config/; without one the token of the data folder')
    .option('--data <folder>', "the vault's data folder", 'data');

withToken(program.command('doctor'))
  .description('try all that the vault needs of a token, with throw-away objects')
  .option('--objects <n>', 'how many data objects of 4 KB to try to hold', '300')
  .option('--json', 'print JSON')
  .action(async ({ objects, json, ...flags }) =>
    (await import('./token.js')).doctor(flags, Number(objects), json === true, say),
  );

const audit = program.command('audit').description('look into the audit log');
withToken(audit.command('verify'))
  .description('read the audit log through: every line chained, every seal by the token, nothing missing')
  .option('--log <file>', 'without it audit.log of the data folder')
  .action(async ({ log, ...flags }) => (await import('./token.js')).auditVerify(flags, log, say));

const token = program.command('token').description('look after a token');
const withCustodians = (command: Command): Command =>
  withToken(command).option(
    '--custodians <file>',
    'file of the custodians, whose passphrases are asked for in place of a PIN',
  );
withCustodians(token.command('init'))
  .description('make a token and the keys that it lacks; what is there stays')
  .option('--so-pin-file <file>', "file with the security officer's PIN; without it the PIN is asked for")
  .option('--backup-key <file>', 'public key of the backup token, which the keys may leave this one for')
  .action(async ({ soPinFile, backupKey, ...flags }) =>
    (await import('./token.js')).init(flags, { soPinFile, backupKey }, say),
  );
token
  .command('custodians <file>')
  .description('share the PINs of a ceremony out among custodians, each with a passphrase')
  .requiredOption('--threshold <m>', 'how many of them must come')
  .requiredOption('--count <n>', 'how many there are')
  .action(async (file: string, { threshold, count }) =>
    (await import('./token.js')).appoint(file, Number(threshold), Number(count), say),
  );
withCustodians(token.command('init-backup'))
  .description('make a backup token, and write its public key to a file')
  .requiredOption('--out <file>', 'where its public key goes (PEM)')
  .action(async ({ out, ...flags }) => (await import('./token.js')).initBackup(flags, out, say));
withCustodians(token.command('rehearse <backup>'))
  .description('try every key of a backup in the backup token, and leave nothing behind')
  .action(async (file: string, flags) => (await import('./token.js')).rehearse(flags, file, say));
withCustodians(token.command('restore <backup>'))
  .description("turn the backup token into the vault's; every account then has one attempt")
  .action(async (file: string, flags) => (await import('./token.js')).restore(flags, file, say));
token
  .command('shred')
  .description(
    'destroy the wrapping keys of ended accounts in a running vault, moving the living ones to fresh keys',
  )
  .option('--admin <host:port>', "the vault's admin address", '127.0.0.1:8201')
  .option('--all', 'every wrapping key, also where no account has ended')
  .option('--abandon-lost', 'end the accounts whose records are lost, which otherwise keep their key alive')
  .action(async (options) => (await import('./token.js')).shred(options, say));

withVault(program.command('status').description('what the vault says of the account')).action(
  async (options) => {
    const status = await (await vaultClient(options)).status();
    say(
      status.state === 'registered' ? `registered, ${status.attemptsRemaining} attempts left` : status.state,
    );
  },
);

try {
  await program.parseAsync();
} catch (error) {
  const { name, message } = error as Error;
  const known =
    error instanceof UsageError ||
    error instanceof BkvError ||
    error instanceof BackupError ||
    error instanceof StorageError;
  process.stderr.write(
    `bkv: ${known || ['ProfileError', 'TokenError', 'PinRefused', 'TokenShared', 'LedgerCorrupt', 'DatabaseError', 'CustodyError', 'TokenBackupError'].includes(name) ? message : `${name}: ${message}`}\n`,
  );
  process.exit(exitCode(error as Error));
} finally {
  process.stdin.destroy();
}

/** 78 (EX_CONFIG of sysexits.h) says that starting the daemon again would be in vain, or do harm. */
function exitCode({ name }: Error): number {
  if (name === 'UsageError') return 2;
  if (name === 'WrongPassword') return 3;
  if (name === 'Locked') return 4;
  return name === 'TokenShared' || name === 'PinRefused' ? 78 : 1;
}
