/** Writes the vectors of docs/protocol.md to test/vectors, as JSON. Run by `npm run vectors`. A test compares them. */
import { writeFileSync } from 'node:fs';
import { type Account, account } from './account.js';
import { codePoints, password, stretching } from './password.js';
import { refused } from './refused.js';
import { fleet } from './share.js';

/** The content of every file, by its name in test/vectors. */
export async function vectors(): Promise<Record<string, unknown>> {
  const accounts = [
    await account('alice', 'correct horse battery staple'),
    await account('зоя@example', 'e\u0301te\u0301\u00a02026'),
  ];
  return {
    'code-points.json': codePoints(),
    'password.json': password(),
    'stretching.json': await stretching(),
    'account.json': accounts,
    'fleet.json': fleet(),
    'refused.json': refused(accounts[0] as Account),
  };
}

/** The file's text: indented JSON that a person can read, and in ASCII, so that no editor changes a password. */
export const written = (value: unknown): string =>
  `${JSON.stringify(value, null, 1).replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)}\n`;

if (process.argv[1]?.endsWith('make-vectors/index.js'))
  for (const [name, value] of Object.entries(await vectors()))
    writeFileSync(`test/vectors/${name}`, written(value));
