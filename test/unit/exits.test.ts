import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '../../src/cli/errors.js';
import { exitCode, told } from '../../src/cli/told.js';
import { AccessTokenUnavailable } from '../../src/client/index.js';
import { EXITS } from '../../src/protocol/index.js';

describe('exit codes', () => {
  it('are those of the table, and no two rows have the same', () => {
    const codes = Object.values(EXITS).map(({ code }) => code);
    assert.equal(new Set(codes).size, codes.length);
    const chosen = readdirSync('src', { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .flatMap((name) =>
        [...readFileSync(join('src', name), 'utf8').matchAll(/process\.exit(Code = |\()[^;]*\b\d.*/g)].map(
          ([found]) => `${name}: ${found}`,
        ),
      );
    assert.deepEqual(chosen, []);
  });

  it('say why the command has no access token', () => {
    const error = new AccessTokenUnavailable({ cause: new UsageError('the access token is not a JWT') });
    assert.deepEqual([told(error), exitCode(error)], ['the access token is not a JWT', EXITS.usage.code]);
    const unknown = new AccessTokenUnavailable();
    assert.deepEqual([told(unknown), exitCode(unknown)], [unknown.message, EXITS.failed.code]);
  });
});
