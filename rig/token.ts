/**
 * The tokens that the tests run on: SoftHSM2's, or openCryptoki's in the root that softhsm/opencryptoki.sh makes. Every
 * test makes its own.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { initializeToken, loadProfile, type Profile } from '../src/keeper/pkcs11/index.js';

export const isOpenCryptoki = process.env.BKV_TEST_MODULE === 'opencryptoki';
const SO_PIN = '87654321';
export const PIN = '47114711';

const profilePath = `hsm-config/${isOpenCryptoki ? 'opencryptoki' : 'softhsm2'}.yaml`;
let count = 0;
/** Tokens of openCryptoki that were given back empty: it has only a few. */
const spare: string[] = [];

/** An empty home for this process's SoftHSM2 tokens, and the PIN that they have. @returns the folder, to be deleted */
export function softhsmHome(prefix: string): string {
  const folder = mkdtempSync(join(tmpdir(), prefix));
  const tokens = join(folder, 'tokens');
  const conf = join(folder, 'softhsm2.conf');
  mkdirSync(tokens);
  writeFileSync(conf, `directories.tokendir = ${tokens}\nlog.level = ERROR\n`);
  Object.assign(process.env, { BKV_DATA: folder, BKV_TOKEN_PIN: PIN, SOFTHSM2_CONF: conf });
  return folder;
}

/** A fresh token with the vault's long-lived keys, as `bkv token init` makes it. */
export function freshToken(): Profile {
  const profile = { ...loadProfile(profilePath), token: { label: `test-${process.pid}-${++count}` } };
  initializeToken(profile, SO_PIN);
  return profile;
}

/**
 * The lines about the token in a daemon's configuration: none for the embedded SoftHSM2, which the daemon
 * makes.
 */
export function tokenConfig(data: string): string {
  if (!isOpenCryptoki) return '';
  const profile = join(data, 'profile.yaml');
  if (!existsSync(profile)) {
    const { module } = loadProfile(profilePath);
    const content = {
      name: 'openCryptoki',
      module,
      token: { label: spare.pop() ?? `daemon-${process.pid}-${++count}` },
      pin: [{ file: join(data, 'token-pin') }],
      sessions: 2,
    };
    writeFileSync(profile, JSON.stringify(content));
    writeFileSync(join(data, 'token-pin'), PIN, { mode: 0o600 });
    writeFileSync(join(data, 'so-pin'), SO_PIN, { mode: 0o600 });
    run('dist/src/cli/main.js', 'token', 'init', '--profile', profile, '--so-pin-file', join(data, 'so-pin'));
  }
  return `profile: ${profile}\n`;
}

/** Deletes a data folder and its token. */
export function discardData(data: string): void {
  if (isOpenCryptoki) {
    const { label } = profileOf(data).token;
    run('dist/rig/objects.js', data, 'wipe');
    spare.push(label as string);
  }
  rmSync(data, { recursive: true, force: true });
}

/** Where a daemon's token is found, for a program that looks into it. */
export function profileOf(data: string): Profile {
  const own = join(data, 'profile.yaml');
  return loadProfile(existsSync(own) ? own : 'hsm-config/softhsm2.yaml');
}

export const run = (...args: string[]): string => execFileSync(process.execPath, args, { encoding: 'utf8' });
