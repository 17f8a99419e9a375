import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { initializeToken, loadProfile, type Profile } from '../src/token/index.js';

/** A private SoftHSM2 token store for this test run. The variables are set before any module is loaded. */
export const folder = mkdtempSync(join(tmpdir(), 'bkv-test-'));
mkdirSync(join(folder, 'tokens'));
writeFileSync(
  join(folder, 'softhsm2.conf'),
  `directories.tokendir = ${join(folder, 'tokens')}\nlog.level = ERROR\n`,
);
process.env.SOFTHSM2_CONF = join(folder, 'softhsm2.conf');
process.env.BKV_DATA = folder;
process.env.BKV_TOKEN_PIN = 'test-user-pin';

export const mochaHooks = {
  afterAll(): void {
    rmSync(folder, { recursive: true, force: true });
  },
};

let count = 0;

/** A fresh token with the vault's long-lived keys, as `bkv token init` makes it. */
export function freshToken(): Profile {
  const profile = { ...loadProfile('hsm-config/softhsm2.yaml'), token: { label: `test-${++count}` } };
  initializeToken(profile, 'test-so-pin');
  return profile;
}

/** A fresh token in a store of its own, for a daemon in another process. */
export function separateStore(path: string): NodeJS.ProcessEnv {
  mkdirSync(join(path, 'tokens'), { recursive: true });
  writeFileSync(
    join(path, 'softhsm2.conf'),
    `directories.tokendir = ${join(path, 'tokens')}\nlog.level = ERROR\n`,
  );
  return { ...process.env, SOFTHSM2_CONF: join(path, 'softhsm2.conf'), BKV_DATA: path };
}

export const run = (...args: string[]): string => execFileSync(process.execPath, args, { encoding: 'utf8' });
