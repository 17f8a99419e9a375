import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { ERRORS } from '../../src/protocol/index.js';
import { references } from './index.js';

describe('the reference in docs/', () => {
  for (const [name, make] of Object.entries(references))
    it(`${name} is what the code says; run \`npm run docs\` when it is not`, () => {
      assert.equal(readFileSync(`docs/${name}`, 'utf8'), make());
    });

  it('protocol.md says what a client does on every problem that the API has', () => {
    const [, failures = ''] = readFileSync('docs/protocol.md', 'utf8').split('## Failures');
    const admin = ['forbidden-origin', 'no-backup'];
    for (const [code, { fatal }] of Object.entries(ERRORS))
      if (!fatal && !admin.includes(code)) assert.ok(failures.includes(`\`${code}\``), code);
  });
});
