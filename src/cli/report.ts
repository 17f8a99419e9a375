import type { Command } from 'commander';
import { say, sayJson } from './say.js';

/** What `--json` prints, of whichever command. docs/cli.md has it. */
export const JSON_RULE = `With \`--json\` a command prints one JSON object on standard output, and nothing else there. Its exit code is the same as without. Warnings,
questions and errors go to standard error; after an error that ends the command standard output is empty. Sizes are bytes, times are of ISO 8601 in
UTC. What is wrong with a file is an object of its \`path\`, which is empty where no file can be named, and the \`reason\`. Programs ignore fields that
they do not know.`;

/** A command that reports can do it for a program. */
export const withJson = (command: Command): Command => command.option('--json', 'print one JSON object');

/** Prints a result for a program, or as lines for a person. */
export function report(json: boolean | undefined, result: object, lines: () => Iterable<string>): void {
  if (json) sayJson(result);
  else for (const line of lines()) say(line);
}
