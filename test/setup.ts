/** Loaded by mocha before every test file, and so before any module of a token. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isOpenCryptoki, PIN } from './token.js';

const folder = mkdtempSync(join(tmpdir(), 'bkv-test-'));
mkdirSync(join(folder, 'tokens'));
writeFileSync(
  join(folder, 'softhsm2.conf'),
  `directories.tokendir = ${join(folder, 'tokens')}\nlog.level = ERROR\n`,
);
process.env.SOFTHSM2_CONF = join(folder, 'softhsm2.conf');
process.env.BKV_DATA = folder;
process.env.BKV_TOKEN_PIN = PIN;

export async function mochaGlobalSetup(): Promise<void> {
  if (isOpenCryptoki) execFileSync('bash', ['softhsm/opencryptoki.sh', 'start'], { stdio: 'inherit' });
}

export async function mochaGlobalTeardown(): Promise<void> {
  if (isOpenCryptoki) execFileSync('bash', ['softhsm/opencryptoki.sh', 'stop'], { stdio: 'inherit' });
}

export const mochaHooks = {
  afterAll(): void {
    rmSync(folder, { recursive: true, force: true });
  },
};
