import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { description } from '../../src/http/index.js';
import { version } from '../../src/version.js';

describe('the version', () => {
  const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'));

  it('is that of package.json in the lock file and in the description of the API', () => {
    assert.match(version, /^\d+\.\d+\.\d+$/);
    const lock = json('package-lock.json');
    assert.deepEqual([lock.version, lock.packages[''].version], [version, version]);
    const { info } = description(version) as { info: { version: string } };
    assert.equal(info.version, version);
  });

  it('is in the names of the packages that the documents say to install', () => {
    for (const path of ['docs/client.md', 'docs/operator.md']) {
      const named = [...readFileSync(path, 'utf8').matchAll(/backup-key-vault(?:-client)?-([\d.]+)\.tgz/g)];
      assert.ok(named.length > 0, path);
      for (const [, one] of named) assert.equal(one, version, path);
    }
  });

  it('is the newest in the changelog, which dates each one and has no later one', () => {
    const headings = readFileSync('CHANGELOG.md', 'utf8').match(/^## .*$/gm) ?? [];
    for (const heading of headings) assert.match(heading, /^## \d+\.\d+\.\d+(, \d{4}-\d\d-\d\d)?$/);
    assert.equal(headings[0]?.split(/[ ,]/)[1], version);
    assert.match(headings[0] ?? '', /\d{4}-\d\d-\d\d$/);
  });
});
