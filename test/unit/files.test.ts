import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeFileAtomic, writeFileAtomicSync } from '../../src/process/index.js';

it('a file that cannot be put in its place leaves nothing beside it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'bkv-files-'));
  const path = join(folder, 'taken');
  mkdirSync(path);
  try {
    await assert.rejects(writeFileAtomic(path, 'a secret'), { code: 'EISDIR' });
    assert.throws(() => writeFileAtomicSync(path, 'a secret'), { code: 'EISDIR' });
    assert.deepEqual(readdirSync(folder), ['taken']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
