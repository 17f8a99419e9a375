import type { Command } from 'commander';
import { withAccount, withJson } from './flags.js';

export function accountCommands(program: Command): void {
  withJson(withAccount(program.command('status').description('what the vault says of the account'))).action(
    async (flags) => (await import('./account.js')).status(flags),
  );
}
