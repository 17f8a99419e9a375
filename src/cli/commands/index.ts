import type { Command } from 'commander';
import { accountCommands } from './account.js';
import { backupCommands } from './backup.js';
import { completionCommand } from './completion.js';
import { daemonCommands } from './daemon.js';
import { fleetCommands } from './fleet.js';
import { keyCommands } from './key.js';
import { openerCommands } from './opener.js';
import { tokenCommands } from './token.js';

/** Adds every command, in the order of the help. What a command does is in the file of its name beside this folder. */
export function addCommands(program: Command): void {
  daemonCommands(program);
  backupCommands(program);
  keyCommands(program);
  openerCommands(program);
  accountCommands(program);
  fleetCommands(program);
  tokenCommands(program);
  completionCommand(program);
}
