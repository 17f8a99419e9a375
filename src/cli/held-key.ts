import {
  type AccountStatus,
  type FleetClient,
  type FleetOutcome,
  type FleetStatus,
  VaultClient,
} from '../client/index.js';

export type Client = VaultClient | FleetClient;

/** Vaults of a fleet that hold a key which is not the fleet's. */
export const othersOf = (status: AccountStatus | FleetStatus): readonly string[] =>
  (status as Partial<FleetStatus>).others ?? [];

const warn = (text: string): void => {
  process.stderr.write(`warning: ${text}\n`);
};

/** Tells of vaults that lied, or have not done yet what was asked. */
export function tellOutcome(outcome: FleetOutcome | undefined, whatIsPending: string): void {
  for (const url of outcome?.liars ?? []) warn(`${url} gave a wrong answer; do not trust it`);
  const { pending = [], silent = [] } = outcome ?? {};
  const open = pending.filter((url) => !silent.includes(url));
  if (open.length > 0) warn(`${whatIsPending} at ${pending.join(', ')}; bkv key recover goes on with it`);
  else if (pending.length > 0)
    process.stderr.write(
      `${pending.join(', ')} did not answer. The next recovery that reaches it makes up for that.\n`,
    );
}

/** The key that a vault or fleet holds, 32 bytes. */
export async function recoverKey(client: Client, password: string): Promise<Uint8Array> {
  if (client instanceof VaultClient) return client.recover(password);
  const recovered = await client.recover(password);
  const { backupKey, repaired } = recovered;
  tellOutcome(recovered, 'a registration or change that was not finished may be open');
  if (repaired !== undefined)
    process.stderr.write(`A vault had no share: all were dealt anew, and ${repaired} vaults hold one now.\n`);
  return backupKey;
}
