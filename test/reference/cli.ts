import { Command, type Option } from 'commander';
import { withAccount } from '../../src/cli/account.js';
import { EXIT_CODES } from '../../src/cli/errors.js';
import { program } from '../../src/cli/program.js';
import { ERRORS } from '../../src/protocol/index.js';

/** Its path from `bkv` on, as it is typed. */
const nameOf = (command: Command): string =>
  command.parent ? `${nameOf(command.parent)} ${command.name()}` : command.name();

const leaves = (command: Command): Command[] =>
  command.commands.length > 0 ? command.commands.flatMap(leaves) : [command];

const row = ({ flags, description, mandatory, defaultValue }: Option): string => {
  // What a variable of the environment stands for is no default.
  const fallback = typeof defaultValue === 'string' && !/\(BKV_/.test(description);
  const notes = [mandatory && 'required', fallback && `\`${defaultValue}\` unless told`].filter(Boolean);
  return `| \`${flags}\` | ${[description, ...notes].join('; ')} |`;
};

const table = (rows: readonly string[]): string =>
  rows.length > 0 ? `\n\n| option | |\n|---|---|\n${rows.join('\n')}` : '';

/** What most commands have that ask a vault. */
const ofAccount = withAccount(new Command()).options;

function section(command: Command): string {
  const usage = command.registeredArguments.map((argument) => {
    const shown = `${argument.name()}${argument.variadic ? '...' : ''}`;
    return argument.required ? `<${shown}>` : `[${shown}]`;
  });
  const asksVault = ofAccount.every(({ flags }) => command.options.some((option) => option.flags === flags));
  const own = command.options.filter(
    (option) => !asksVault || !ofAccount.some(({ flags }) => flags === option.flags),
  );
  const shared = asksVault ? ' Takes the [options of an account](#options-of-an-account).' : '';
  return `### ${[nameOf(command), ...usage].join(' ')}

${capital(command.description())}.${shared}${table(own.map(row))}`;
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** The commands below each word after `bkv`, in the order of the help. */
function sections(): string {
  return program.commands
    .map((command) =>
      leaves(command)
        .map((leaf) => section(leaf))
        .join('\n\n'),
    )
    .join('\n\n');
}

const MEANINGS: Readonly<Record<number, string>> = {
  0: 'done; of `serve`: stopped by SIGTERM or SIGINT',
  1: 'failed, or something is damaged; a second try may succeed',
  2: 'used wrongly, or not agreed to; nothing was done',
  3: 'wrong password',
  4: 'locked: the key is unreachable for ever',
  5: 'done, but not for everything: what is left out is named; of `doctor`: something is unsafe',
  6: 'undecided: the password is wrong, or vaults that answered lie; more vaults must answer to tell',
  78: 'of `serve`: starting it again would be in vain, or do harm',
  130: 'interrupted',
  137: 'of `serve`: the keeper killed itself, because a call into the module hung; start it again',
};

/** Every error with its exit code, but those that end with 1. */
function errorsBy(exit: number): string {
  const ofVault = Object.entries(ERRORS).filter(([, row]) => row.exit === exit && exit !== 1);
  const ofClient = Object.entries(EXIT_CODES).filter(([, code]) => code === exit);
  return [...ofVault, ...ofClient].map(([code]) => `\`${code}\``).join(', ') || '–';
}

/** The command line's reference, Markdown. */
export function cliReference(): string {
  const exits = Object.entries(MEANINGS).map(
    ([exit, meaning]) => `| ${exit} | ${meaning} | ${errorsBy(Number(exit))} |`,
  );
  return `# The command bkv

Made from the code by \`npm run docs\`. \`bkv help <command>\` has the same. Options that name a variable in brackets are taken from the
environment where they are not given. \`BKV_LOG_LEVEL\` is \`error\`, \`warn\`, \`info\` (unless told) or \`debug\`.

## Exit codes

| code | meaning | errors |
|---|---|---|
${exits.join('\n')}

## Options of an account
${table(ofAccount.map(row)).slice(1)}

## Commands

${sections()}
`;
}
