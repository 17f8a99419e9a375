/** Loaded by mocha, and by each of its processes, before any test file, and so before any module of a token. */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { isOpenCryptoki, softhsmHome } from '../../rig/token.js';

const folder = softhsmHome('bkv-test-');

// What runs in this process keeps its log's warnings to itself; the daemons that it starts say all.
const { BKV_LOG_LEVEL } = process.env;
process.env.BKV_LOG_LEVEL ??= 'error';
await import('../../src/keeper/log/index.js');
if (BKV_LOG_LEVEL === undefined) delete process.env.BKV_LOG_LEVEL;

export async function mochaGlobalSetup(): Promise<void> {
  if (isOpenCryptoki) execFileSync('bash', ['softhsm/opencryptoki.sh', 'start'], { stdio: 'inherit' });
}

export async function mochaGlobalTeardown(): Promise<void> {
  if (isOpenCryptoki) execFileSync('bash', ['softhsm/opencryptoki.sh', 'stop'], { stdio: 'inherit' });
}

process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
