import type { Command } from 'commander';
import { whole } from '../flags.js';
import { say } from '../say.js';

/** A year: longer than any trial. */
const MOST_SECONDS = 31_536_000;

export function daemonCommands(program: Command): void {
  program
    .command('serve')
    .description('run a vault; without a configuration on SoftHSM2 and SQLite in the data folder')
    .option('--config <file>', 'YAML file, see docs/operator.md')
    .option('--data <folder>', 'where the vault keeps its data', 'data')
    .option('--listen <host:port>', 'address of the API')
    .option('--admin <host:port>', 'address of metrics and health')
    .action(async (options) => {
      process.exitCode = await (await import('../../daemon/index.js')).serve(options);
    });

  // main.ts runs these before this file is loaded; they are here only for the help.
  program.command('keeper').description('the trusted half of serve: --config, --data, --sockets FOLDER');
  program.command('http').description('the part that faces clients: --config, --sockets FOLDER, --listen');
  program.command('admin').description('the part for the operator: --config, --sockets FOLDER, --admin');

  program
    .command('jwt')
    .description('print a JWT of the embedded issuer, for trying out the vault')
    .requiredOption('--account <id>', 'the account')
    .option('--data <folder>', "the vault's data folder", 'data')
    .option(
      '--server-key <key>',
      'public key of the vault that the JWT is for; without it the one in the data folder',
    )
    .option('--seconds <n>', 'how long it is valid', whole(1, MOST_SECONDS), 3600)
    .option('--make-issuer', 'make the issuer first, if there is none')
    .action(async ({ data, account, seconds, serverKey, makeIssuer }) => {
      const issuer = await import('../../daemon/index.js');
      if (makeIssuer) await issuer.makeIssuer(data);
      say(await issuer.embeddedJwt(data, account, seconds, serverKey));
    });
}
