import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ERRORS } from '../../src/protocol/index.js';
import { references } from './index.js';

const markdown = (folder: string): string[] =>
  (readdirSync(folder, { recursive: true }) as string[])
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name));

describe('the reference in docs/', () => {
  for (const [name, make] of Object.entries(references))
    it(`${name} is what the code says; run \`npm run docs\` if it is not`, () => {
      assert.equal(readFileSync(`docs/${name}`, 'utf8'), make());
    });

  it('protocol.md says what a client does on every problem of the API', () => {
    const [, failures = ''] = readFileSync('docs/protocol.md', 'utf8').split('## Failures');
    const admin = ['forbidden-origin', 'no-backup'];
    for (const [code, { fatal }] of Object.entries(ERRORS))
      if (!fatal && !admin.includes(code)) assert.ok(failures.includes(`\`${code}\``), code);
  });

  it('operator.md has a remedy for every alert', () => {
    const headings =
      readFileSync('docs/operator.md', 'utf8')
        .match(/^### .*$/gm)
        ?.join('\n') ?? '';
    for (const file of ['rules.yml', 'rules-fleet.yml'])
      for (const [, alert] of readFileSync(`monitoring/${file}`, 'utf8').matchAll(/- alert: (\w+)/g))
        assert.match(headings, new RegExp(`\\b${alert}\\b`));
  });

  it('links in the documents lead somewhere', () => {
    const documents = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md', ...markdown('docs')];
    for (const document of documents)
      for (const [, link = ''] of readFileSync(document, 'utf8').matchAll(/\]\(([^)#\s:]+)(?:#[^)]*)?\)/g))
        assert.ok(existsSync(join(dirname(document), link)), `${document}: ${link}`);
  });
});
