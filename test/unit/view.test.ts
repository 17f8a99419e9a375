import assert from 'node:assert/strict';
import fs, { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mock } from 'node:test';
import { View } from '../../src/keeper/pkcs11/view.js';

it('the view of a token shows what is there, though an object goes while it is made', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bkv-view-'));
  const token = join(folder, 'token');
  const { SOFTHSM2_CONF } = process.env;
  mkdirSync(token);
  // The shortest whole file: how often it was written, and one attribute with its type, kind and value.
  const whole = Buffer.alloc(25);
  whole.writeBigUInt64BE(1n, 16);
  writeFileSync(join(token, 'token.object'), whole);
  writeFileSync(join(token, 'stays.object'), whole);
  writeFileSync(join(folder, 'softhsm2.conf'), `directories.tokendir = ${folder}\n`);
  process.env.SOFTHSM2_CONF = join(folder, 'softhsm2.conf');
  try {
    const view = new View();
    const shown = join(token, `witness.${process.pid}`, 'token');
    view.entered();
    const { readdirSync: list } = fs;
    mock.method(fs, 'readdirSync', (path: string) => ['gone.object', ...list(path)]);
    syncBuiltinESMExports();
    view.during(() => {
      assert.deepEqual(
        list(shown).filter((name) => name.endsWith('.object')),
        ['stays.object'],
      );
    }, true);
  } finally {
    mock.restoreAll();
    syncBuiltinESMExports();
    process.env.SOFTHSM2_CONF = SOFTHSM2_CONF;
    if (SOFTHSM2_CONF === undefined) delete process.env.SOFTHSM2_CONF;
    rmSync(folder, { recursive: true });
  }
});
