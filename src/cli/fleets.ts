import type { Command } from 'commander';
import { FleetClient } from '../client/index.js';
import { endAs } from './errors.js';
import { report, withJson } from './report.js';
import { say } from './say.js';

async function check({ fleet, json }: { fleet: string; json?: boolean }): Promise<void> {
  const { threshold, vaults } = (await import('./fleet-file.js')).loadFleet(fleet);
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

async function plan({ fleet, json }: { fleet: string; json?: boolean }): Promise<void> {
  const file = (await import('./fleet-file.js')).loadFleet(fleet);
  new FleetClient({ ...file, account: '', accessToken: () => '' });
  const { planOf, linesOf } = await import('./fleet-plan.js');
  const made = planOf(file);
  report(json, made, () => linesOf(made));
}

export function fleetCommands(program: Command): void {
  const fleet = program.command('fleet').description('look after the vaults of a fleet');
  fleet
    .command('pin <urls...>')
    .description(
      'ask vaults for their keys and print a fleet file; compare the keys with what their operators say',
    )
    .requiredOption('--threshold <n>', 'how many vaults must answer: more than half')
    .action(async (urls: string[], { threshold }) =>
      say(await (await import('./fleet-file.js')).pinFleet(urls, Number(threshold))),
    );
  withJson(fleet.command('plan'))
    .description('say what a fleet file means: what may fail, how many guesses there are, what a move takes')
    .requiredOption('--fleet <file>', 'fleet file (BKV_FLEET)', process.env.BKV_FLEET)
    .action(plan);
  withJson(fleet.command('check'))
    .description('show the state of each vault, and whether its keys are the pinned ones')
    .requiredOption('--fleet <file>', 'fleet file (BKV_FLEET)', process.env.BKV_FLEET)
    .action(check);
}
