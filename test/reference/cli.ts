import { Command, type Option } from 'commander';
import { JSON_RULE, withAccount } from '../../src/cli/flags.js';
import { program } from '../../src/cli/program.js';
import { CLIENT_EXITS } from '../../src/cli/told.js';
import { ERRORS, EXITS, type Exit } from '../../src/protocol/index.js';

/** The command as it is typed, from `bkv` on. */
const nameOf = (command: Command): string =>
  command.parent ? `${nameOf(command.parent)} ${command.name()}` : command.name();

const leaves = (command: Command): Command[] =>
  command.commands.length > 0 ? command.commands.flatMap(leaves) : [command];

const row = ({ flags, description, mandatory, defaultValue }: Option): string => {
  // A default that an environment variable sets is not shown.
  const fallback = ['string', 'number'].includes(typeof defaultValue) && !/\(BKV_/.test(description);
  const notes = [mandatory && 'required', fallback && `default \`${defaultValue}\``].filter(Boolean);
  return `| \`${flags}\` | ${[description, ...notes].join('; ')} |`;
};

const table = (rows: readonly string[]): string =>
  rows.length > 0 ? `\n\n| option | |\n|---|---|\n${rows.join('\n')}` : '';

/** Options of most commands that ask a vault. */
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

/** A section for each word after `bkv`, with its commands in the order of the help. */
function sections(): string {
  return program.commands
    .map((command) =>
      leaves(command)
        .map((leaf) => section(leaf))
        .join('\n\n'),
    )
    .join('\n\n');
}

/** The commands with --json. */
function reporting(): string {
  const names = leaves(program).filter(({ options }) => options.some(({ long }) => long === '--json'));
  return `It is an option of ${names.map((command) => `\`${nameOf(command)}\``).join(', ')}.`;
}

/** The errors that end with this exit code. For `failed`, those of the vault are left out. */
function errorsBy(exit: Exit): string {
  const ofVault = Object.entries(ERRORS).filter(([, row]) => row.exit === exit && exit !== 'failed');
  const ofClient = Object.entries(CLIENT_EXITS).filter(([, ends]) => ends === exit);
  return [...ofVault, ...ofClient].map(([code]) => `\`${code}\``).join(', ') || '–';
}

/** The command line's reference, Markdown. */
export function cliReference(): string {
  const exits = Object.entries(EXITS).map(
    ([exit, { code, meaning }]) => `| ${code} | ${meaning} | ${errorsBy(exit as Exit)} |`,
  );
  return `# The command bkv

Made from the code by \`npm run docs\`. \`bkv help <command>\` has the same. An option that is not given is taken from
the environment variable in brackets. \`BKV_LOG_LEVEL\` is \`error\`, \`warn\`, \`info\` (the default) or \`debug\`.

## Exit codes

| code | meaning | errors |
|---|---|---|
${exits.join('\n')}

## For programs

${JSON_RULE}

${reporting()}

## Proxies

\`bkv\` reaches vaults, WebDAV and S3 through the proxies that \`HTTPS_PROXY\` and \`HTTP_PROXY\` name:
\`http://HOST:PORT\`, with \`USER:PASSWORD@\` if the proxy asks for it. \`NO_PROXY\` lists the hosts that are reached
directly. A name includes all names below it, \`HOST:PORT\` means one port, and \`*\` means every host. An address
means itself, a block such as \`10.0.0.0/8\` all addresses in it. The same variables in lower case take
precedence. Loopback is always reached directly. The proxy must accept CONNECT, to port 80 too if the address is
\`http:\`. A daemon uses proxies only to fetch the identity provider's keys; if none is named, the keeper does not
load the package for it (undici). rclone reads the same variables, for an \`rclone:\` storage.

## Options of an account
${table(ofAccount.map(row)).slice(1)}

## Commands

${sections()}
`;
}
