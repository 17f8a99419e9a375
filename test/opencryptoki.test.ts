import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { Postgres } from './support/postgres.js';

const SCRIPT = 'softhsm/opencryptoki.sh';
const CANNOT = 77;

/** Runs test/opencryptoki, a vault on a second real module, in a root directory of Debian sid. */
describe('openCryptoki 3.27', function () {
  this.timeout(300_000);
  let postgres: Postgres | undefined;
  before(async function () {
    const { status, stderr } = spawnSync('bash', [SCRIPT, 'run', 'true'], { encoding: 'utf8' });
    if (status === CANNOT) {
      console.error(`SKIPPED: ${stderr.trim()}`);
      return this.skip();
    }
    assert.equal(status, 0, stderr);
    postgres = await Postgres.start();
  });
  after(() => postgres?.stop());

  it('holds a vault', () => {
    const { status, stdout, stderr } = spawnSync(
      'bash',
      [
        SCRIPT,
        'run',
        'node',
        'node_modules/mocha/bin/mocha.js',
        '--reporter',
        'spec',
        'dist/test/opencryptoki/vault.js',
      ],
      {
        encoding: 'utf8',
        env: { ...process.env, BKV_TEST_MODULE: 'opencryptoki', BKV_TEST_DATABASE: postgres?.url },
      },
    );
    assert.equal(status, 0, stdout + stderr);
  });
});
