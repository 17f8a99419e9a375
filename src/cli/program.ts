import { Command, CommanderError } from 'commander';
import { failWith, hideExperimentalWarnings, printableLines, useProxies } from '../process/index.js';
import { CodedError, EXITS } from '../protocol/terms.js';
import { version } from '../version.js';
import { addCommands } from './commands/index.js';
import { refuseEmpty } from './flags.js';

export const program = new Command('bkv')
  .description('End-to-end encrypted backups, with a key that a password opens')
  .version(version)
  .showHelpAfterError()
  .exitOverride();
addCommands(program);
program.hook('preAction', (_program, command) => refuseEmpty(command));

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
    process.stderr.write(`bkv: ${printableLines(told(error as Error))}\n`);
    process.exit(exitCode(error as Error));
  } finally {
    process.stdin.destroy();
  }
}
