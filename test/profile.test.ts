import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isOpenCryptoki, PIN } from '../rig/token.js';
import { loadModule } from '../src/keeper/pkcs11/binding.js';
import { hasToken, loadProfile, type Profile, ProfileError } from '../src/keeper/pkcs11/index.js';

describe('profiles, bkv doctor and bkv token init', () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-profile-'));
  after(() => rmSync(work, { recursive: true, force: true }));

  it('every file of hsm-config/ is a profile; only its module may be missing on this machine', () => {
    const names = readdirSync('hsm-config');
    assert.ok(names.length >= 9);
    for (const name of names) {
      try {
        loadProfile(join('hsm-config', name));
      } catch (error) {
        assert.ok(error instanceof ProfileError);
        assert.match(error.message, /no PKCS#11 module at/, name);
      }
    }
  });

  it('a file that is no module, or a module for another machine, is named with what to correct', () => {
    const other = readFileSync('/bin/true');
    other.writeUInt16LE(0xf3, 18);
    writeFileSync(join(work, 'other.so'), other);
    writeFileSync(join(work, 'text.so'), 'text');
    for (const module of [work, join(work, 'other.so'), join(work, 'text.so'), '/bin/true']) {
      const profile = { module } as Profile;
      assert.throws(() => loadModule(profile), {
        reason: 'BKV_MODULE',
        message: /not a PKCS#11 module for this machine/,
      });
      assert.throws(() => hasToken(profile), { reason: 'BKV_MODULE' });
    }
  });

  it('an error names file, line and field', () => {
    const path = join(work, 'wrong.yaml');
    const good = 'name: x\nmodule: /bin/true\ntoken:\n  label: bkv\npin:\n  - env: PIN\n';
    for (const [text, message] of [
      [
        good.replace('  label: bkv', '  lable: bkv'),
        /wrong\.yaml:4: token: "lable" is not a field; did you mean "label"\?/,
      ],
      [`${good}sessions: many\n`, /wrong\.yaml:7: sessions: /],
      [`${good}  - [\n`, /wrong\.yaml:\d: /],
      [good.replace('pin:\n  - env: PIN\n', ''), /wrong\.yaml:1: pin: /],
      [good.replace('/bin/true', `\${NO_SUCH_VARIABLE}/x.so`), /NO_SUCH_VARIABLE.* is not set/],
    ] as const) {
      writeFileSync(path, text);
      assert.throws(
        () => loadProfile(path),
        (error: Error) => error instanceof ProfileError && message.test(error.message),
        `${text} → ${message}`,
      );
    }
  });

  describe('on a token', () => {
    const data = join(work, 'token');
    const { SOFTHSM2_CONF: _, BKV_TOKEN_PIN: __, ...env } = process.env;
    const profile = `hsm-config/${isOpenCryptoki ? 'opencryptoki' : 'softhsm2'}.yaml`;
    const bkv = (...args: string[]): { status: number; stdout: string; stderr: string } => {
      try {
        const stdout = execFileSync(
          process.execPath,
          ['dist/src/cli/main.js', ...args, '--data', data, '--profile', profile],
          { encoding: 'utf8', env: { ...env, SOFTHSM2_CONF: join(data, 'softhsm2.conf') }, stdio: 'pipe' },
        );
        return { status: 0, stdout, stderr: '' };
      } catch (error) {
        return error as { status: number; stdout: string; stderr: string };
      }
    };
    before(() => {
      mkdirSync(join(data, 'tokens'), { recursive: true });
      writeFileSync(join(data, 'softhsm2.conf'), `directories.tokendir = ${join(data, 'tokens')}\n`);
      writeFileSync(join(data, 'token-pin'), PIN, { mode: 0o600 });
      writeFileSync(join(data, 'so-pin'), '87654321', { mode: 0o600 });
    });

    it('bkv token init makes a token once, and changes nothing the second time', () => {
      const init = () => bkv('token', 'init', '--so-pin-file', join(data, 'so-pin'));
      assert.match(init().stdout, /token "bkv" is made\nkeys made in it: bkv\.static,/);
      assert.match(init().stdout, /^it has all its keys; none was made\n$/);
    });

    it('bkv doctor finds that all works and that keys are kept in files, and leaves nothing behind', () => {
      const report = JSON.parse(bkv('doctor', '--json', '--objects', '20').stdout) as {
        findings: { name: string; result: string; ms?: number }[];
      };
      const wrong = report.findings.filter(({ result }) => !['works', 'note', 'safe'].includes(result));
      assert.deepEqual(
        wrong.map(({ name, result }) => `${result}: ${name}`),
        // openCryptoki accepts the templates, but does not protect keys as they say.
        isOpenCryptoki
          ? wrong.map(({ name, result }) => `${result}: ${name}`)
          : ['unsafe: where the keys lie'],
      );
      assert.ok(report.findings.filter(({ ms }) => ms !== undefined).length > 12);
      const again = bkv('doctor', '--objects', '20');
      assert.equal(again.status, 5);
      assert.match(again.stdout, /^unsafe .*where the keys lie: keys lie in files/m);
      assert.match(again.stdout, /at least 20 objects/);
      const module = bkv('doctor', '--json', '--objects', '1').stdout;
      assert.ok(!module.includes('bkv.doctor'));
    });

    it('the PIN is tried on neither of two tokens with one label; a label that is too long is refused', function () {
      if (isOpenCryptoki) return this.skip();
      const folder = mkdtempSync(join(work, 'twins-'));
      const home = { ...env, SOFTHSM2_CONF: join(folder, 'softhsm2.conf'), BKV_DATA: folder };
      mkdirSync(join(folder, 'tokens'));
      writeFileSync(home.SOFTHSM2_CONF, `directories.tokendir = ${join(folder, 'tokens')}\n`);
      writeFileSync(join(folder, 'token-pin'), PIN, { mode: 0o600 });
      writeFileSync(join(folder, 'so-pin'), '87654321', { mode: 0o600 });
      const run = (command: string, ...args: string[]) =>
        execFileSync(command, args, { env: home, encoding: 'utf8', stdio: 'pipe' });
      for (const pin of [PIN, '12345678'])
        run(
          'softhsm2-util',
          '--init-token',
          '--free',
          '--label',
          'bkv',
          '--pin',
          pin,
          '--so-pin',
          '87654321',
        );
      const tokens = () =>
        readdirSync(join(folder, 'tokens')).map((token) =>
          readFileSync(join(folder, 'tokens', token, 'token.object'), 'hex'),
        );
      const before = tokens();
      const bkvIn = (file: string, ...args: string[]) =>
        run(process.execPath, 'dist/src/cli/main.js', ...args, '--profile', file, '--data', folder);
      const soPin = ['--so-pin-file', join(folder, 'so-pin')];
      assert.throws(() => bkvIn(profile, 'token', 'init', ...soPin), /2 tokens of SoftHSM2 are named "bkv"/);
      assert.throws(
        () => bkvIn(profile, 'doctor', '--objects', '1'),
        ({ stdout }: { stdout: string }) => /2 tokens of SoftHSM2 are named "bkv"/.test(stdout),
      );
      assert.deepEqual(tokens(), before);

      const long = join(folder, 'long.yaml');
      const text = readFileSync(profile, 'utf8').replace('label: bkv', `label: ${'ü'.repeat(17)}`);
      writeFileSync(long, text);
      assert.throws(() => bkvIn(long, 'token', 'init', ...soPin), /has 34 bytes; a token's has 32 at most/);
    });

    it('bkv doctor ends with 5 when others can read the PIN, and names the file', () => {
      chmodSync(join(data, 'token-pin'), 0o644);
      const { status, stdout } = bkv('doctor', '--objects', '1');
      chmodSync(join(data, 'token-pin'), 0o600);
      assert.equal(status, 5);
      assert.match(stdout, /^unsafe .*PIN: .*token-pin: others can read/m);
    });
  });
});
