import { FleetClient } from '../client/index.js';
import { endAs } from './errors.js';
import { loadFleet, pinFleet } from './fleet-file.js';
import { linesOf, planOf } from './fleet-plan.js';
import { report } from './report.js';
import { say } from './say.js';

export async function check({ fleet, json }: { fleet: string; json?: boolean }): Promise<void> {
  const { threshold, vaults } = loadFleet(fleet);
  const checked = await new FleetClient({
    threshold,
    vaults,
    account: '',
    allowPlainHttp: true,
    accessToken: () => '',
  }).check();
  const good = checked.filter(({ state }) => state === 'ok').length;
  if (good < threshold || checked.some(({ state }) => state === 'another identity')) endAs('failed');
  report(json, { threshold, vaults: checked }, () => [
    ...checked.map(({ url, state, detail }) => `${url}  ${state}${detail ? `: ${detail}` : ''}`),
    `${good} of ${vaults.length} vaults answer, and ${threshold} are needed`,
  ]);
}

export async function plan({ fleet, json }: { fleet: string; json?: boolean }): Promise<void> {
  const file = loadFleet(fleet);
  new FleetClient({ ...file, account: '', accessToken: () => '' });
  const made = planOf(file);
  report(json, made, () => linesOf(made));
}

export const pin = async (urls: readonly string[], threshold: number, plainHttp = false): Promise<void> =>
  say(await pinFleet(urls, threshold, plainHttp));
