import type {
  AccountStatus,
  FleetClient,
  FleetOutcome,
  FleetRecovery,
  FleetStatus,
  Recovery,
  VaultClient,
} from '../client/index.js';
import { counted } from './report.js';

export type Client = VaultClient | FleetClient;

/** Vaults of a fleet that hold a key which is not the fleet's. */
export const othersOf = (status: AccountStatus | FleetStatus): readonly string[] =>
  (status as Partial<FleetStatus>).others ?? [];
/** Vaults that hold the remains of a registration that was cut off. */
export const restOf = (status: AccountStatus | FleetStatus): readonly string[] =>
  (status as Partial<FleetStatus>).rest ?? [];

const warn = (text: string): void => {
  process.stderr.write(`warning: ${text}\n`);
};

/** Reports vaults of a fleet that lied, or that have not done yet what was asked. */
export function tellOutcome(
  { liars = [], pending = [], silent = [] }: Partial<FleetOutcome>,
  whatIsPending: string,
): void {
  for (const url of liars) warn(`${url} gave a wrong answer; do not trust it`);
  const open = pending.filter((url) => !silent.includes(url));
  if (open.length > 0) warn(`${whatIsPending} at ${pending.join(', ')}; bkv key recover goes on with it`);
  else if (pending.length > 0)
    process.stderr.write(
      `${pending.join(', ')} did not answer. The next recovery that reaches it makes up for that.\n`,
    );
}

/** Reports wrong passwords that were tried. @param advice what to do if it was somebody else */
export function tellFailed(count: number, advice: string): void {
  if (count === 0) return;
  warn(
    `${counted(count, 'attempt')} to open the key failed since the password last opened it. Wrong passwords fail, and so do attempts that are cut off. ${advice}`,
  );
}

/** The key that a vault or fleet holds, 32 bytes. */
export async function recoverKey(client: Client, password: string): Promise<Uint8Array> {
  const recovered: Recovery & Partial<FleetRecovery> = await client.recover(password);
  const { backupKey, failedAttempts, repaired } = recovered;
  tellFailed(
    failedAttempts,
    'If that was not you, somebody is guessing: choose a new password with bkv key change-password.',
  );
  tellOutcome(recovered, 'a registration or change that was not finished may be open');
  if (repaired !== undefined)
    process.stderr.write(
      `A vault had no share. So all shares were dealt again, and ${repaired} vaults hold one now.\n`,
    );
  return backupKey;
}
