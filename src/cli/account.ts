import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { FleetClient, VaultClient } from '../client/index.js';
import { audienceOf } from '../protocol/terms.js';
import { UsageError } from './errors.js';
import { readText } from './file.js';
import type { AccountFlags } from './flags.js';
import { othersOf, restOf } from './held-key.js';
import { counted, report } from './report.js';

function readJwtFile(path: string): string {
  const text = readText(path);
  if (statSync(path).mode & 0o077) process.stderr.write(`warning: others can read ${path}\n`);
  return text;
}

/** The claims of a JWT, unchecked: the vault checks them. */
async function claims(token: string): Promise<{ sub?: string; aud?: string | string[] }> {
  const { decodeJwt } = await import('jose/jwt/decode');
  try {
    return decodeJwt(token);
  } catch {
    throw new UsageError('the access token is not a JWT');
  }
}

interface VaultName {
  readonly url: string;
  /** its static public key, base64url */
  readonly identity: string;
}

/** The output of a command, which is told for which vault. @throws UsageError */
function printed(command: string, { url, identity }: VaultName): string {
  const env = { ...process.env, BKV_VAULT_URL: url, BKV_VAULT_IDENTITY: identity };
  try {
    return execFileSync('/bin/sh', ['-c', command], {
      env,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  } catch (error) {
    const { status } = error as { status?: number };
    throw new UsageError(`BKV_ACCESS_TOKEN_COMMAND ended with ${status ?? 'a signal'} for ${url}`);
  }
}

/** A vault to get an access token for, when any will do. */
async function someVault({ fleet, vault = '', serverKey = '' }: AccountFlags): Promise<VaultName> {
  if (!fleet) return { url: vault, identity: serverKey };
  const [first] = (await import('./fleet-file.js')).loadFleet(fleet).vaults;
  return { url: first?.url ?? '', identity: Buffer.from(first?.serverPublicKey ?? []).toString('base64url') };
}

/** The account's JWTs: one for each vault, or that of the given vault. */
async function accessTokens(flags: AccountFlags, vault?: VaultName): Promise<readonly [string, ...string[]]> {
  const { jwtFile } = flags;
  const command = jwtFile ? undefined : process.env.BKV_ACCESS_TOKEN_COMMAND;
  if (command) return [printed(command, vault ?? (await someVault(flags))).trim()];
  const text = jwtFile ? readJwtFile(jwtFile) : (process.env.BKV_ACCESS_TOKEN ?? '');
  const [first, ...others] = text.split(/\s+/).filter(Boolean);
  if (!first)
    throw new UsageError(
      "give the account's JWT: --jwt-file FILE, BKV_ACCESS_TOKEN, or BKV_ACCESS_TOKEN_COMMAND for one for each vault",
    );
  return [first, ...others];
}

/** The JWT for a vault. If none names the vault, the first one, which the client then refuses to send. */
async function accessTokenFor(flags: AccountFlags, vault: VaultName): Promise<string> {
  const tokens = await accessTokens(flags, vault);
  for (const token of tokens)
    if ([(await claims(token)).aud].flat().includes(audienceOf(vault.identity))) return token;
  return tokens[0];
}

/** The account that is meant: the one that the user names, or else the one in the access token. */
async function accountId(flags: AccountFlags): Promise<string> {
  if (flags.account) return flags.account;
  const { sub } = await claims((await accessTokens(flags))[0]);
  if (!sub) throw new UsageError('the JWT names no account: give --account ID, or BKV_ACCOUNT');
  return sub;
}

/** The client of a fleet, or of a single vault; both do the same for an account. */
export async function accountClient(flags: AccountFlags): Promise<VaultClient | FleetClient> {
  const { vault, serverKey, fleet } = flags;
  if (fleet)
    return new FleetClient({
      ...(await import('./fleet-file.js')).loadFleet(fleet),
      account: await accountId(flags),
      allowPlainHttp: flags.plainHttp === true,
      accessToken: (one) => accessTokenFor(flags, one),
    });
  if (!vault) throw new UsageError('name the vault: --vault URL (BKV_VAULT), or --fleet FILE (BKV_FLEET)');
  if (!serverKey)
    throw new UsageError('name the public key that the vault must have: --server-key KEY, or BKV_SERVER_KEY');
  return new VaultClient({
    url: vault,
    serverPublicKey: Buffer.from(serverKey, 'base64url'),
    account: await accountId(flags),
    allowPlainHttp: flags.plainHttp === true,
    accessToken: () => accessTokenFor(flags, { url: vault, identity: serverKey }),
  });
}

/** What identifies the account on this device. */
export const accountName = async (flags: AccountFlags): Promise<string> =>
  `${flags.fleet ?? flags.vault} ${await accountId(flags)}`;

/** Reports what the vault says about the account. */
export async function status({ json, ...flags }: AccountFlags & { json?: boolean }): Promise<void> {
  const account = await (await accountClient(flags)).status();
  report(json, account, () => [
    account.state === 'registered'
      ? `registered, ${counted(account.attemptsRemaining, 'attempt')} left`
      : account.state,
    ...othersOf(account).map(
      (url) => `${url} holds a key that is not the fleet's; a registration with the fleet ends it`,
    ),
    ...restOf(account).map(
      (url) =>
        `${url} holds what is left of a registration that was cut off; nothing opens it, and the next registration ends it`,
    ),
  ]);
}
