import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { apiReference, clientReference, metricsReference } from './reference.js';

describe('the reference in docs/', () => {
  it('is what the code says; run `npm run docs` when it is not', () => {
    assert.equal(readFileSync('docs/metrics.md', 'utf8'), metricsReference());
    assert.equal(readFileSync('docs/api.md', 'utf8'), apiReference());
  });

  it('has the client library as its docstrings say', async function () {
    // typedoc reads all types anew.
    this.timeout(600_000);
    assert.equal(readFileSync('docs/client-api.md', 'utf8'), await clientReference());
  });
});
