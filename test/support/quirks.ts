/**
 * A PKCS#11 module that passes every call to SoftHSM2 and alters some: see quirks.c for what can be altered.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PIN } from '../../rig/token.js';
import { initializeToken, loadProfile, type Profile } from '../../src/keeper/pkcs11/index.js';

/** The module in a folder of its own, with a token of SoftHSM2 in it. */
export class Quirks {
  readonly folder = mkdtempSync(join(tmpdir(), 'bkv-quirks-'));
  readonly module = join(this.folder, 'quirks.so');
  readonly path = join(this.folder, 'profile.yaml');
  readonly #quirks = join(this.folder, 'quirks');
  /** a data folder */
  readonly data = mkdtempSync(join(this.folder, 'token-'));
  #written = 0;

  /** @param like one that this one gets a copy of, token and all */
  constructor(like?: Quirks) {
    const headers = 'node_modules/pkcs11js/includes/pkcs11';
    const flags = ['-shared', '-fPIC', '-Wno-cast-function-type', '-I', headers, '-o', this.module];
    if (like) cpSync(like.module, this.module);
    else execFileSync('cc', [...flags, 'test/support/quirks.c', '-ldl', '-lpthread']);
    if (like) cpSync(like.data, this.data, { recursive: true });
    else mkdirSync(join(this.data, 'tokens'));
    writeFileSync(this.#softhsm, `directories.tokendir = ${join(this.data, 'tokens')}\nlog.level = ERROR\n`);
    writeFileSync(join(this.data, 'token-pin'), PIN, { mode: 0o600 });
    writeFileSync(join(this.data, 'so-pin'), '87654321', { mode: 0o600 });
    this.set();
    this.profile();
  }

  get #softhsm(): string {
    return join(this.data, 'softhsm2.conf');
  }

  /** The environment of a process that uses the module. */
  get env(): NodeJS.ProcessEnv {
    return { SOFTHSM2_CONF: this.#softhsm, BKV_QUIRKS: this.#quirks, BKV_DATA: this.data };
  }

  /** Sets what the module alters from its next call on, in every process; by default nothing. */
  set(...lines: string[]): void {
    // The module notices a change by size and time.
    const text = lines.map((line) => `${line}\n`).join('') + ' '.repeat(++this.#written);
    writeFileSync(this.#quirks, text);
  }

  /** How many calls were under way, as `busy` counts them in this process. */
  busy(): { most: number; average: number } {
    const [most, average] = readFileSync(`${this.#quirks}.busy`, 'utf8').split(' ').map(Number);
    return { most: most as number, average: average as number };
  }

  /** Writes the profile, with these fields besides the usual ones. */
  profile(fields: object = {}): string {
    const content = {
      name: 'Quirks',
      module: this.module,
      token: { label: 'quirks' },
      pin: [{ file: join(this.data, 'token-pin') }],
      sessions: 2,
      callTimeout: 60,
      files: 'softhsm2',
      ...fields,
    };
    writeFileSync(this.path, JSON.stringify(content));
    return this.path;
  }

  /** Runs `bkv` on the token. */
  bkv(...args: string[]): { status: number; stdout: string; stderr: string } {
    const { BKV_TOKEN_PIN: _, ...env } = process.env;
    try {
      const stdout = execFileSync(
        process.execPath,
        ['dist/src/cli/main.js', ...args, '--profile', this.path, '--data', this.data],
        { encoding: 'utf8', stdio: 'pipe', env: { ...env, ...this.env }, timeout: 60_000 },
      );
      return { status: 0, stdout, stderr: '' };
    } catch (error) {
      return error as { status: number; stdout: string; stderr: string };
    }
  }

  /** Makes the token, as `bkv token init` does. */
  init(): void {
    const { status, stderr } = this.bkv('token', 'init', '--so-pin-file', join(this.data, 'so-pin'));
    if (status !== 0) throw new Error(stderr);
  }

  /** The profile for this process, whose SoftHSM2 has its own place for tokens. @returns the token's, made in it */
  here(fields: Partial<Profile> = {}): Profile {
    process.env.BKV_QUIRKS = this.#quirks;
    const profile = {
      ...loadProfile(this.path),
      ...fields,
      token: { label: `quirks-${process.pid}-${++this.#written}` },
    };
    initializeToken(profile, '87654321');
    return profile;
  }

  discard(): void {
    if (process.env.BKV_QUIRKS === this.#quirks) delete process.env.BKV_QUIRKS;
    rmSync(this.folder, { recursive: true, force: true });
  }
}
