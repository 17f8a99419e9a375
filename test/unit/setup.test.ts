import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KEYS, Person } from '../support/pty.js';

/** Runs setup.sh as on a machine without `make`, for a user who is not root. */
describe('the set-up', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bkv-setup-'));
  const [bin, script, log] = ['bin', 'softhsm/setup.sh', 'sudo.log'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  before(() => {
    for (const name of ['bin', 'softhsm', 'node_modules']) mkdirSync(join(folder, name));
    copyFileSync('softhsm/setup.sh', script);
    for (const name of ['package-lock.json', 'node_modules/.bkv-lock']) writeFileSync(join(folder, name), '');
    const program = (name: string, does: string) => {
      writeFileSync(join(bin, name), `#!/bin/bash\n${does}\n`);
      chmodSync(join(bin, name), 0o755);
    };
    for (const name of ['bash', 'dirname', 'cmp', 'env'])
      symlinkSync(execFileSync('which', [name], { encoding: 'utf8' }).trim(), join(bin, name));
    symlinkSync(process.execPath, join(bin, 'node'));
    program('id', 'echo 1000');
    program('sudo', `echo "$@" >>${log}`);
    for (const name of ['g++', 'python3']) program(name, '');
  });
  beforeEach(() => rmSync(log, { force: true }));
  after(() => rmSync(folder, { recursive: true }));

  const answered = async (...keys: string[]) => {
    const person = new Person('/bin/bash', [script], { PATH: bin });
    await person.sees(/Missing on this machine: .*make\. Install them with sudo apt-get\? \[y\/N\]/);
    person.type(...keys);
    const code = await person.ends();
    return { code, screen: person.screen };
  };

  it('uses sudo after the person has agreed', async () => {
    assert.equal((await answered('y', KEYS.enter)).code, 0);
    assert.match(readFileSync(log, 'utf8'), /^apt-get update -qq\nenv .*apt-get install .*make\n$/);
  });

  it('says what to do when the person refuses, and uses no sudo', async () => {
    for (const keys of [['n', KEYS.enter], [KEYS.enter], [KEYS.ctrlD]]) {
      const { code, screen } = await answered(...keys);
      assert.equal(code, 1);
      assert.match(screen, /Install these first, as root: apt-get update && apt-get install .*make/);
    }
    const { screen } = await answered(KEYS.ctrlC);
    assert.doesNotMatch(screen, /Installing/);
    assert.ok(!existsSync(log));
  });

  it('does not ask in CI, nor where nobody could answer', () => {
    const run = (env: NodeJS.ProcessEnv) => execFileSync('/bin/bash', [script], { env, stdio: 'pipe' });
    assert.throws(() => run({ PATH: bin }), { status: 1, message: /Install these first, as root: / });
    assert.ok(!existsSync(log));
    run({ PATH: bin, CI: 'true' });
    assert.match(readFileSync(log, 'utf8'), /apt-get install .*make/);
  });
});
