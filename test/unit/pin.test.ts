import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  PinRefused,
  type Profile,
  ProfileError,
  readPin,
  TokenError,
} from '../../src/keeper/pkcs11/index.js';
import { RefusedPins } from '../../src/keeper/pkcs11/refused.js';

describe('where the PIN comes from', () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-pin-'));
  const { BKV_DATA, CREDENTIALS_DIRECTORY } = process.env;
  after(() => {
    rmSync(work, { recursive: true, force: true });
    Object.assign(process.env, { ...(BKV_DATA && { BKV_DATA }) });
    if (CREDENTIALS_DIRECTORY === undefined) delete process.env.CREDENTIALS_DIRECTORY;
  });
  let count = 0;
  const file = (mode: number, text = '4711\n'): string => {
    const path = join(work, `pin-${++count}`);
    writeFileSync(path, text);
    chmodSync(path, mode);
    return path;
  };
  const read = (path: string) => readPin({ name: 'x', pin: [{ file: path }] } as unknown as Profile);
  const refuses = (path: string, why: RegExp) =>
    assert.throws(
      () => read(path),
      (error) => error instanceof ProfileError && why.test(error.message),
    );
  /** A group without users, and a user of this machine. */
  const [EMPTY, NOBODY] = [54_321, 65_534];

  it('is a file for its owner only, or for a group without other users', () => {
    for (const mode of [0o600, 0o400]) assert.equal(read(file(mode)), '4711');
    if (process.getuid?.() !== 0) return;
    const path = file(0o440);
    chownSync(path, 0, EMPTY);
    assert.equal(read(path), '4711');
    // Kubernetes mounts a secret as a link.
    const link = join(work, 'token-pin');
    symlinkSync(path, link);
    assert.equal(read(link), '4711');
  });

  it('is refused if anybody else can read it', () => {
    for (const mode of [0o644, 0o604, 0o660]) refuses(file(mode), /others can read/);
    if (process.getuid?.() !== 0) return;
    const path = file(0o440);
    chownSync(path, 0, NOBODY);
    refuses(path, /others can read this PIN file \(user \d+\)/);
  });

  it('may have an access list if it names only this user, as systemd makes it', function () {
    const list = (path: string, entry: string) => execFileSync('setfacl', ['-m', entry, path]);
    const own = file(0o400);
    try {
      list(own, `u:${process.getuid?.()}:r`);
    } catch {
      return this.skip();
    }
    assert.equal(read(own), '4711');
    const shared = file(0o400);
    list(shared, `u:${NOBODY}:r`);
    refuses(shared, /others can read this PIN file \(user 65534\)/);
    const group = file(0o400);
    list(group, `g:${NOBODY}:r`);
    refuses(group, /others can read/);
  });

  it('is refused if it is empty or a folder', () => {
    for (const text of ['', '\n', '  ']) refuses(file(0o600, text), /the PIN is empty.*none was tried/);
    const folder = join(work, 'folder');
    mkdirSync(folder);
    refuses(folder, /folder: this is a folder/);
  });

  it('is refused if its path cannot be searched', () => {
    refuses(join(file(0o600), 'pin'), /pin: the PIN cannot be read \(ENOTDIR\)/);
  });

  it('is not tried again after the token refused it, until it changes', () => {
    process.env.BKV_DATA = join(work);
    const profile = { name: 'x', token: { label: 'a' } } as Profile;
    const path = join(work, 'pin-refused.json');
    new RefusedPins(profile).check('0000');
    new RefusedPins(profile).remember('0000');
    assert.throws(
      () => new RefusedPins(profile).check('0000'),
      (error) => error instanceof PinRefused && error.message.includes(path),
    );
    // The stored hash has one byte, so a few other PINs look like the refused one.
    const others = Array.from({ length: 20 }, (_, i) => `1${i}`);
    const tried = others.filter((pin) => {
      try {
        new RefusedPins(profile).check(pin);
        return true;
      } catch {
        return false;
      }
    });
    assert.ok(tried.length > 15);
    new RefusedPins({ ...profile, token: { label: 'b' } }).check('0000');
    new RefusedPins(profile).forget();
    assert.ok(!existsSync(path));
  });

  it('is not tried if nobody can know whether the token refused it before', () => {
    process.env.BKV_DATA = join(work);
    const profile = { name: 'x', token: { label: 'a' } } as Profile;
    const path = join(work, 'pin-refused.json');
    new RefusedPins(profile).remember('0000');
    const whole = readFileSync(path);
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(path, whole.subarray(0, length));
      assert.throws(() => new RefusedPins(profile).check('0000'), TokenError, `${length} bytes`);
    }
    for (const other of ['{}', '[{}]', '"a"', 'null']) {
      writeFileSync(path, other);
      assert.throws(
        () => new RefusedPins(profile).check('0000'),
        (error) => error instanceof TokenError && error.message.includes(`Delete ${path}`),
        other,
      );
    }
    rmSync(path);
    mkdirSync(path);
    assert.throws(() => new RefusedPins(profile).check('0000'), /EISDIR/);
    rmdirSync(path);
    new RefusedPins(profile).check('0000');
  });
});
