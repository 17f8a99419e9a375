/**
 * What must hold for a vault, whatever its daemon, its token or its disk did, judged by what its clients
 * know.
 */
import assert from 'node:assert/strict';
import { cheapStretch } from '../../rig/stretching.js';
import type { TestedVault } from '../../rig/tested.js';
import { run } from '../../rig/token.js';
import { FleetClient, type FleetVault } from '../../src/client/index.js';

/** Wrong passwords until an account of these tests is locked. */
export const MAX = 4;
export const config = `maxAttempts: ${MAX}\nrateLimit: { account: 1000, address: 1000 }\n`;

/** What the client side knows of an account: only what was acknowledged counts; what is under way may be either. */
export interface Account {
  state: 'unregistered' | 'registered' | 'locked' | 'deleting' | 'deleted';
  password?: string;
  /** the password of a registration under way */
  pending?: string;
  /** evaluations received since the last success */
  used: number;
  /** attempts that may have been counted */
  underWay?: number;
}
export interface Known {
  serverPublicKey?: string;
  accounts: Record<string, Account>;
}

/** Whether the account's client is one of fleets, here of one vault. */
export const isOfFleet = (name: string): boolean => name.endsWith('dave');

/** A vault that answers over HTTP too. */
export interface Served extends TestedVault {
  fleetEntry(): FleetVault | Promise<FleetVault>;
  jwt(account: string): Promise<string>;
}

export const fleetClient = async (vault: Served, account: string): Promise<FleetClient> =>
  new FleetClient({
    vaults: [await vault.fleetEntry()],
    threshold: 1,
    account,
    stretch: cheapStretch,
    accessToken: () => vault.jwt(account),
  });

async function opens(vault: Served, name: string, password: string): Promise<boolean> {
  try {
    if (isOfFleet(name)) await (await fleetClient(vault, name)).recover(password);
    else {
      const { prove, abandon } = await vault.startRecovery(name, password);
      await prove().catch((error) => abandon().then(() => Promise.reject(error)));
    }
    return true;
  } catch {
    return false;
  }
}

export interface Observed {
  serverPublicKey: string;
  accounts: Record<string, { state: string; attemptsRemaining: number; password: string | undefined }>;
}

/** What a vault started on a crashed one's data says of each account, and which of its passwords opens it. */
export async function observe(
  vault: Served,
  passwords: Readonly<Record<string, readonly string[]>>,
): Promise<Observed> {
  const observed: Observed = { serverPublicKey: vault.serverPublicKey, accounts: {} };
  for (const [name, candidates] of Object.entries(passwords)) {
    const { state, attemptsRemaining = 0 } = await vault.status(name);
    let password: string | undefined;
    for (const candidate of candidates.slice(0, Math.max(1, attemptsRemaining))) {
      if (state === 'unregistered' || password !== undefined) break;
      if (await opens(vault, name, candidate)) password = candidate;
    }
    observed.accounts[name] = { state, attemptsRemaining, password };
  }
  await vault.shred();
  return observed;
}

export function judge({ serverPublicKey, accounts }: Observed, known: Known): void {
  if (known.serverPublicKey) assert.equal(serverPublicKey, known.serverPublicKey, 'another identity');
  for (const [name, { state, password, pending, used, underWay }] of Object.entries(known.accounts)) {
    const now = accounts[name] as Observed['accounts'][string];
    const says = `${name}: ${JSON.stringify(now)}`;
    if (state === 'locked' || state === 'deleted') {
      assert.equal(now.password, undefined, `${says} opens again`);
      assert.equal(now.state, state === 'locked' ? 'locked' : 'unregistered', says);
    } else if (state === 'unregistered' || state === 'deleting') {
      const whole = state === 'deleting' ? password : pending;
      assert.ok(now.state === 'unregistered' || (whole && now.password === whole), `${says} is half there`);
    } else if (used + (underWay ?? 0) >= MAX && now.state === 'locked') {
      assert.equal(now.password, undefined, `${says} is locked and opens`);
    } else {
      assert.equal(now.state, 'registered', `${says} vanished`);
      if (now.attemptsRemaining === 0) assert.ok(used + (underWay ?? 0) >= MAX, `${says} lost attempts`);
      else if (now.password === undefined || now.password !== pending) {
        assert.equal(now.password, password, `${says} does not open`);
        assert.ok(now.attemptsRemaining <= MAX - used, `${says}: attempts came back`);
      }
    }
  }
}

/** Fails if something is there that no part of the vault owns, or is there twice. */
export function assertNoOrphans(data: string): void {
  const labels: string[] = JSON.parse(run('dist/rig/objects.js', data));
  const count = (pattern: RegExp) => labels.filter((label) => pattern.test(label)).length;
  const most: [RegExp, number][] = [
    [/^bkv\.static$/, 2],
    [/^bkv\.(wrap|fake|audit|ledger|names)$/, 5],
    [/^bkv\.canary$/, 1],
    [/^bkv\.audit\.head\.[0-9a-f]{16}$/, 1],
    [/^bkv\.ledger\.writer$/, 1],
    [/^bkv\.ledger\.journal$/, 6],
    [/^bkv\.ledger\.page\.0$/, 1],
    [/^bkv\.page\.0\.\d+$/, 1],
  ];
  for (const [pattern, limit] of most)
    assert.ok(count(pattern) <= limit, `${count(pattern)} of ${pattern} in the token`);
  const known = most.reduce((sum, [pattern]) => sum + count(pattern), 0);
  assert.equal(known, labels.length, `an orphan among ${labels}`);
}
