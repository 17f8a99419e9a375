import { Command, CommanderError } from 'commander';
import { failWith, hideExperimentalWarnings, useProxies } from '../process/index.js';
import { CodedError, EXITS } from '../protocol/terms.js';
import { version } from '../version.js';
import { accountCommands } from './accounts.js';
import { backupCommands } from './backups.js';
import { completionCommand } from './completion.js';
import { daemonCommands } from './daemon.js';
import { fleetCommands } from './fleets.js';
import { keyCommands } from './keys.js';
import { openerCommands } from './openers.js';
import { tokenCommands } from './tokens.js';

export const program = new Command('bkv')
  .description('End-to-end encrypted backups, with a key that a password opens')
  .version(version)
  .showHelpAfterError()
  .exitOverride();
daemonCommands(program);
backupCommands(program);
keyCommands(program);
openerCommands(program);
accountCommands(program);
fleetCommands(program);
tokenCommands(program);
completionCommand(program);

/** Does what the command line says. What a command needs is loaded only when the command runs. */
export async function run(): Promise<void> {
  hideExperimentalWarnings();
  try {
    await useProxies();
    await program.parseAsync();
  } catch (error) {
    // Commander has reported its own errors already.
    if (error instanceof CommanderError) process.exit((error.exitCode ? EXITS.usage : EXITS.done).code);
    if (error instanceof CodedError) failWith(error);
    const { exitCode, told } = await import('./told.js');
    process.stderr.write(`bkv: ${told(error as Error)}\n`);
    process.exit(exitCode(error as Error));
  } finally {
    process.stdin.destroy();
  }
}
