/** Options that several commands take. */
import { type Command, InvalidArgumentError } from 'commander';
import { UsageError } from './errors.js';

/** What `--json` prints, whatever the command; docs/cli.md shows it. */
export const JSON_RULE = `With \`--json\` a command prints one JSON object on standard output, and nothing else there. Its exit code is the same as without \`--json\`. Warnings,
questions and errors go to standard error; after an error that ends the command standard output is empty. Sizes are bytes, times are of ISO 8601 in
UTC. A problem with a file is an object with its \`path\`, which is empty if no file can be named, and the \`reason\`. Programs ignore fields that they do not know.`;

/**
 * An empty argument comes from a variable that is not set in a script: `--out "$FILE"` would print a key.
 * @throws UsageError
 */
export function refuseEmpty(command: Command): void {
  const isEmpty = (value: unknown) => [value].flat().includes('');
  const empty = command.options.find(
    (option) =>
      command.getOptionValueSource(option.attributeName()) === 'cli' &&
      isEmpty(command.getOptionValue(option.attributeName())),
  );
  const at = command.args.indexOf('');
  const name = empty?.long ?? command.registeredArguments[at]?.name();
  if (empty || at >= 0) throw new UsageError(`${name} is empty; is a variable that it comes from not set?`);
}

/** For commands that report: has them report to a program. */
export const withJson = (command: Command): Command => command.option('--json', 'print one JSON object');

/** For an option that may be repeated. */
export const several = (value: string, before: string[] = []): string[] => [...before, value];

/** For an option that takes a whole number. */
export const whole =
  (min: number, max: number) =>
  (value: string): number => {
    const number = /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
    if (!(number >= min && number <= max))
      throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
    return number;
  };

export const withKeyFile = (command: Command): Command =>
  command.option('--key-file <file>', 'file with the 64 digits; without it they are asked for');

export const withPasswordFile = (command: Command): Command =>
  command.option('--password-file <file>', 'file with the password, where nobody can be asked');

/** What opens a backup, as the command line says it. */
export interface OpenerFlags {
  readonly keyFile?: string;
  readonly pieceFile?: readonly string[];
  readonly pieces?: boolean;
}

export const withOpener = (command: Command): Command =>
  withKeyFile(command)
    .option('--piece-file <file>', "open it with contacts' pieces: a file with one (again for each)", several)
    .option('--pieces', "open it with contacts' pieces, which are asked for");

/** Which account is meant, and at which vault or fleet. */
export interface AccountFlags {
  readonly vault?: string;
  readonly serverKey?: string;
  readonly account?: string;
  readonly jwtFile?: string;
  readonly plainHttp?: boolean;
  readonly fleet?: string;
}

export const withAccount = (command: Command): Command =>
  command
    .option('--vault <url>', 'address of the vault (BKV_VAULT)', process.env.BKV_VAULT)
    .option(
      '--server-key <key>',
      "the vault's static public key, base64url (BKV_SERVER_KEY)",
      process.env.BKV_SERVER_KEY,
    )
    .option('--fleet <file>', 'fleet file, in place of a single vault (BKV_FLEET)', process.env.BKV_FLEET)
    .option(
      '--account <id>',
      "id of the account; without it the JWT's `sub` is taken (BKV_ACCOUNT)",
      process.env.BKV_ACCOUNT,
    )
    .option(
      '--jwt-file <file>',
      "file with the account's JWT; for a fleet, one for each vault (or the variables BKV_ACCESS_TOKEN, or BKV_ACCESS_TOKEN_COMMAND)",
    )
    .option('--plain-http', 'allow http: to other machines; others can then read what you send');
