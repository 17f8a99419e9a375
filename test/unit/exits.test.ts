import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
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
});
