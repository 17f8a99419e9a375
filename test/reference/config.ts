import { parseDocument } from 'yaml';
import type { Check } from '../../src/config/check.js';
import { daemonFields } from '../../src/config/daemon.js';
import { profileFields } from '../../src/keeper/pkcs11/profile.js';

/** What a value must be, in the words of the error for a wrong one. */
function kindOf(check: Check<unknown>): string {
  const faults: string[] = [];
  const place = { field: '', folder: '.', fault: (text: string) => void faults.push(text) };
  check(parseDocument('{ no such field: 1 }').contents, place);
  return (faults[0] ?? '').startsWith('must be ') ? (faults[0] as string).replace('must be ', '') : 'a map';
}

const shown = (value: unknown): string => {
  if (value === undefined) return '–';
  const { host, port } = value as { host?: string; port?: number };
  return `\`${host === undefined ? JSON.stringify(value) : `${host}:${port}`}\``;
};

function rows({ table = {} }: Check<unknown>, above = ''): string[] {
  return Object.entries(table).flatMap(([name, check]) => {
    const inner = rows(check, `${above}${name}.`);
    const isMap = inner.length > 0;
    const unless = check.leftOut === undefined ? 'required' : isMap ? '–' : shown(check.leftOut.value);
    return [
      `| \`${above}${name}\` | ${isMap ? 'a map' : kindOf(check)} | ${unless} | ${check.about} |`,
      ...inner,
    ];
  });
}

const tableOf = (check: Check<unknown>): string =>
  `| field | value | default | what it does |\n|---|---|---|---|\n${rows(check).join('\n')}`;

/** The reference of the configuration files, Markdown. */
export function configReference(): string {
  return `# Configuration

Made from the code by \`npm run docs\`. Unknown fields are refused. All faults are reported at once, each with its line.
Paths are relative to the file that names them.

## The daemon

\`bkv serve --config bkv.yaml\`. Every field may be left out; without a file a vault for trials is made in the data folder.
[operator.md](operator.md) says what to set in production.

${tableOf(daemonFields)}

## A token's profile

The file that \`profile\` names, and \`--profile\` of \`bkv token\` and \`bkv doctor\`. \`hsm-config/\` has one for each kind of device; copy the one
that is nearest. \`\${NAME}\` in \`module\` and in a PIN's \`file\` is a variable of the environment.

${tableOf(profileFields)}
`;
}
