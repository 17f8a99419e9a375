import type { Command } from 'commander';
import { whole, withJson } from '../flags.js';

export function fleetCommands(program: Command): void {
  const fleet = program.command('fleet').description('look after the vaults of a fleet');
  fleet
    .command('pin <urls...>')
    .description(
      'ask vaults for their keys and print a fleet file; compare the keys with what their operators say',
    )
    .requiredOption('--threshold <n>', 'how many vaults must answer: more than half', whole(1, 255))
    .option('--plain-http', 'allow http: to other machines; others can then show keys of their own')
    .action(async (urls: string[], { threshold, plainHttp }) =>
      (await import('../fleet.js')).pin(urls, threshold, plainHttp),
    );
  withJson(fleet.command('plan'))
    .description('say what a fleet file means: what may fail, how many guesses there are, what a move takes')
    .requiredOption('--fleet <file>', 'fleet file (BKV_FLEET)', process.env.BKV_FLEET)
    .action(async (flags) => (await import('../fleet.js')).plan(flags));
  withJson(fleet.command('check'))
    .description('show the state of each vault, and whether its keys are the pinned ones')
    .requiredOption('--fleet <file>', 'fleet file (BKV_FLEET)', process.env.BKV_FLEET)
    .action(async (flags) => (await import('../fleet.js')).check(flags));
}
