import { readFileSync, statSync } from 'node:fs';
import type { Command } from 'commander';
import { FleetClient, VaultClient } from '../client/index.js';
import { UsageError } from './errors.js';
import { say, sayJson } from './say.js';

/** Which account is meant, and at which vault or fleet. */
export interface AccountFlags {
  readonly vault?: string;
  readonly serverKey?: string;
  readonly tokenFile?: string;
  readonly fleet?: string;
}

export const withAccount = (command: Command): Command =>
  command
    .option('--vault <url>', 'address of the vault (BKV_VAULT)', process.env.BKV_VAULT)
    .option(
      '--server-key <key>',
      "the vault's static public key, base64url (BKV_SERVER_KEY)",
      process.env.BKV_SERVER_KEY,
    )
    .option('--fleet <file>', 'fleet file, in place of a single vault (BKV_FLEET)', process.env.BKV_FLEET)
    .option('--token-file <file>', "file with the account's JWT (or the variable BKV_ACCESS_TOKEN)");

const accessToken = ({ tokenFile }: AccountFlags): string => {
  if (tokenFile === undefined) {
    if (process.env.BKV_ACCESS_TOKEN) return process.env.BKV_ACCESS_TOKEN;
    throw new UsageError("give the account's JWT: --token-file FILE, or BKV_ACCESS_TOKEN");
  }
  try {
    if (statSync(tokenFile).mode & 0o077) process.stderr.write(`warning: others can read ${tokenFile}\n`);
    return readFileSync(tokenFile, 'utf8').trim();
  } catch (error) {
    throw new UsageError(`${tokenFile}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
};

/** The client of a fleet, or of a single vault; both do the same for an account. */
export async function accountClient(flags: AccountFlags): Promise<VaultClient | FleetClient> {
  const { vault, serverKey, fleet } = flags;
  accessToken(flags);
  if (fleet)
    return new FleetClient({
      ...(await import('./fleet-file.js')).loadFleet(fleet),
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

/** What tells the account from others on this device. */
export async function accountName(flags: AccountFlags): Promise<string> {
  const { decodeJwt } = await import('jose');
  const token = accessToken(flags);
  try {
    return `${flags.fleet ?? flags.vault} ${decodeJwt(token).sub}`;
  } catch {
    throw new UsageError('the access token is not a JWT');
  }
}

async function status({ json, ...flags }: AccountFlags & { json?: boolean }): Promise<void> {
  const account = await (await accountClient(flags)).status();
  if (json) return sayJson(account);
  say(
    account.state === 'registered' ? `registered, ${account.attemptsRemaining} attempts left` : account.state,
  );
}

export function accountCommands(program: Command): void {
  withAccount(program.command('status').description('what the vault says of the account'))
    .option('--json', 'print JSON')
    .action(status);
}
