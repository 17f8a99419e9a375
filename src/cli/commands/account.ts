import type { Command } from 'commander';
import { withAccount, withJson } from '../flags.js';

export function accountCommands(program: Command): void {
  withJson(
    withAccount(program.command('status').description('show what the vault says about the account')),
  ).action(async (flags) => (await import('../account.js')).status(flags));
}
