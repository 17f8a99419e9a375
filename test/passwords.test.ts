import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from '../rig/daemon.js';
import { isRemembered, makeReminder, newBackupKey, passwordStrength } from '../src/client/index.js';
import { preparePassword } from '../src/client/password.js';
import * as unicode from '../src/client/unicode.js';

const RIGHT = 'purple otter under glass';

describe('passwords', () => {
  it('are prepared as RFC 8265 OpaqueString says', () => {
    // The examples of RFC 8265, section 4.3, and Unicode's own of composition.
    for (const [typed, prepared] of [
      ['correct horse battery staple', 'correct horse battery staple'],
      ['Correct Horse Battery Staple', 'Correct Horse Battery Staple'],
      ['πßå', 'πßå'],
      ['Jack of ♦s', 'Jack of ♦s'],
      ['foo\u1680bar', 'foo bar'],
      ['e\u0301', 'é'],
      ['🔑', '🔑'],
    ] as const)
      assert.equal(Buffer.from(preparePassword(typed)).toString(), prepared);
    assert.throws(() => preparePassword(''), { code: 'EmptyPassword' });
    for (const refused of [
      'my cat is a \tby',
      'a\u200bb',
      '\ud800',
      '\u{e0001}',
      '\uffff',
      '\ue000',
      '\u2028',
    ])
      assert.throws(() => preparePassword(refused), { code: 'InvalidPassword' });
  });

  it('follow the contextual rules of RFC 5892, and those that docs/passwords.md adds for emoji', () => {
    const taken: [string, string][] = [
      ['می‌خواهم', 'می‌خواهم'],
      ['क्‍ष', 'क्‍ष'],
      ['ක්‍ර', 'ක්‍ර'],
      ['l·l', 'l·l'],
      ['\u0375α', '\u0375α'],
      ['ג׳', 'ג׳'],
      ['ア・イ', 'ア・イ'],
      ['٣٤', '٣٤'],
      ['❤\ufe0f', '❤'],
      ['1\ufe0f\u20e3', '1\u20e3'],
      ['👩🏽‍❤\ufe0f‍💋‍👨🏿', '👩🏽‍❤‍💋‍👨🏿'],
      ['👨‍👩‍👧', '👨‍👩‍👧'],
      ['🏴󠁧󠁢󠁥󠁮󠁧󠁿', '🏴󠁧󠁢󠁥󠁮󠁧󠁿'],
      ['葛\u{e0100}', '葛'],
    ];
    for (const [typed, prepared] of taken)
      assert.equal(Buffer.from(preparePassword(typed)).toString(), prepared, typed);
    for (const refused of [
      'a\u200db',
      'a\u200cb',
      '👨\u200d',
      '\u200d👨',
      'a·b',
      '\u0375a',
      'a׳',
      'x・y',
      '٣۴',
      '🏴󠁧󠁢',
      'ـ',
    ])
      assert.throws(() => preparePassword(refused), { code: 'InvalidPassword' }, JSON.stringify(refused));
    assert.throws(() => preparePassword('\ufe0f'), { code: 'EmptyPassword' });
  });

  it('do not depend on the engine’s version of Unicode: what 13.0 lacks is accepted, and not composed', () => {
    // U+105D2 U+0307 compose to U+105C9 since Unicode 16.0. U+1FAE9 is an emoji of 16.0. U+378 is not assigned yet.
    for (const newer of ['\u{105d2}\u0307', '\u{1fae9}', '\u0378'])
      assert.equal(Buffer.from(preparePassword(newer)).toString(), newer);
    for (let codePoint = 0x20; codePoint < 0x110000; codePoint++) {
      const char = String.fromCodePoint(codePoint);
      const known = unicode.isIn(unicode.ASSIGNED, codePoint);
      if (known)
        assert.ok(!/\p{Cn}/u.test(char) || /\p{Noncharacter_Code_Point}/u.test(char), codePoint.toString(16));
      if (known && /\p{Cc}|\p{Cs}|\p{Co}|\p{Zl}|\p{Zp}/u.test(char))
        assert.ok(unicode.isIn(unicode.DISALLOWED, codePoint), codePoint.toString(16));
      if (/\p{Extended_Pictographic}/u.test(char))
        assert.ok(unicode.isIn(unicode.PICTOGRAPH, codePoint), codePoint.toString(16));
    }
  });

  it('have a length', () => {
    assert.equal(preparePassword('x'.repeat(1024)).length, 1024);
    for (const long of ['x'.repeat(1025), 'é'.repeat(513), 'x'.repeat(100_000), '\ufe0f'.repeat(1e6)])
      assert.throws(() => preparePassword(long), { code: 'PasswordTooLong' });
    for (const other of [42, undefined, null, {}, new Uint8Array(8)])
      assert.throws(() => preparePassword(other as never), { code: 'InvalidPassword' });
  });

  it('are rated, with advice', async () => {
    assert.equal((await passwordStrength('password')).score, 0);
    const strong = await passwordStrength(RIGHT);
    assert.ok(strong.score >= 3);
    assert.ok((await passwordStrength('Alice Liddell', ['alice', 'liddell'])).guesses < strong.guesses);
    assert.ok((await passwordStrength('qwerty')).advice.length > 0);
  });

  it('a reminder accepts its password and no other', async () => {
    const reminder = await makeReminder(RIGHT);
    assert.equal(reminder.length, 48);
    assert.equal(await isRemembered(reminder, RIGHT.replaceAll(' ', '\u00a0')), true);
    assert.equal(await isRemembered(reminder, `${RIGHT}.`), false);
  });

  describe('with a vault', () => {
    const work = mkdtempSync(join(tmpdir(), 'bkv-passwords-'));
    let daemon: Daemon;
    let env: NodeJS.ProcessEnv;
    const as = async (account: string) => {
      env = {
        ...process.env,
        BKV_VAULT: daemon.url,
        BKV_SERVER_KEY: daemon.serverPublicKey,
        BKV_ACCESS_TOKEN: await daemon.jwt(account),
        XDG_STATE_HOME: join(work, 'state'),
        HOME: work,
      };
    };
    const bkv = (args: string[], ...lines: string[]) =>
      spawnSync(process.execPath, ['dist/src/cli/main.js', ...args], {
        input: lines.map((line) => `${line}\n`).join(''),
        encoding: 'utf8',
        env,
      });
    const attempts = (account: string) => daemon.status(account);
    before(async () => {
      mkdirSync(join(work, 'vault'));
      daemon = await Daemon.start(join(work, 'vault'), {
        config: 'rateLimit: { account: 1000, address: 1000 }\n',
      });
    });
    after(async () => {
      await daemon.stop();
      rmSync(work, { recursive: true, force: true });
    });

    it('a very weak one is refused, one is changed, and the key stays', async () => {
      await as('alice');
      const key = Buffer.from(newBackupKey()).toString('hex');
      const weak = bkv(['key', 'register'], key, 'password');
      assert.equal(weak.status, 2);
      assert.match(weak.stderr, /among the first that are guessed/);
      const registered = bkv(['key', 'register', '--remember'], key, RIGHT);
      assert.equal(registered.status, 0, registered.stderr);
      assert.match(registered.stderr, /This password is (good|strong)\./);
      assert.equal(bkv(['key', 'change-password'], 'wrong', 'another good one of mine').status, 3);
      const changed = bkv(['key', 'change-password'], RIGHT, 'another good one of mine');
      assert.equal(changed.status, 0, changed.stderr);
      assert.match(changed.stderr, /warning: 1 attempt to open the key failed since .* guessed at the old/);
      const recover = (password: string) => bkv(['key', 'recover', '--raw'], password);
      for (let i = 0; i < 2; i++) assert.equal(recover(RIGHT).status, 3);
      const recovered = recover('another good one of mine');
      assert.equal(recovered.stdout, `${key}\n`);
      assert.match(
        recovered.stderr,
        /warning: 2 attempts to open the key failed since .* bkv key change-password/,
      );
      assert.doesNotMatch(recover('another good one of mine').stderr, /failed/);
    });

    it('is asked for on the device now and then, which costs no attempt', async () => {
      const before = await attempts('alice');
      assert.equal(bkv(['key', 'check-password'], 'another good one of mine').status, 0);
      const forgotten = bkv(['key', 'check-password'], 'was it this one?');
      assert.equal(forgotten.status, 3);
      assert.match(forgotten.stdout, /choose a new one/);
      assert.deepEqual(JSON.parse(bkv(['key', 'check-password', '--json'], 'a third').stdout), {
        right: false,
      });
      assert.deepEqual(await attempts('alice'), before);
    });

    it('gives way to 64 digits, and the vault forgets the key', async () => {
      const out = join(work, 'digits');
      assert.equal(bkv(['key', 'to-digits', '--out', out], 'another good one of mine').status, 0);
      assert.match(readFileSync(out, 'utf8'), /^([0-9a-f]{4} ){4} \d\d\n/);
      assert.deepEqual(await attempts('alice'), { state: 'unregistered' });
      assert.equal(bkv(['key', 'check-password'], 'another good one of mine').status, 2);
    });

    it('leaves nothing on the device unless that is wanted, and a folder that cannot be written is no error', async () => {
      await as('carl');
      const key = Buffer.from(newBackupKey()).toString('hex');
      env.XDG_STATE_HOME = join(work, 'untouched');
      assert.equal(bkv(['key', 'register'], key, RIGHT).status, 0);
      assert.ok(!existsSync(join(work, 'untouched')));
      writeFileSync(join(work, 'a-file'), '');
      env.XDG_STATE_HOME = join(work, 'a-file');
      const recovered = bkv(['key', 'recover', '--raw', '--remember'], RIGHT);
      assert.equal(recovered.stdout, `${key}\n`);
      assert.equal(recovered.status, 0);
      assert.match(recovered.stderr, /warning: ENOTDIR/);
    });

    describe('the key opens other backup programs', () => {
      const file = join(work, 'password');
      const source = join(work, 'source');
      const command = () =>
        `${process.execPath} ${process.cwd()}/dist/src/cli/main.js key recover --raw --password-file ${file}`;
      const run = (program: string, args: string[], extra: NodeJS.ProcessEnv, cwd = work) => {
        const { status, stderr, stdout } = spawnSync(program, args, {
          env: { ...env, ...extra },
          encoding: 'utf8',
          cwd,
        });
        return { status, text: `${stdout}${stderr}` };
      };
      before(async () => {
        await as('bob');
        mkdirSync(source);
        writeFileSync(join(source, 'message.txt'), 'hello');
        writeFileSync(file, `${RIGHT}\n`, { mode: 0o600 });
        const registered = bkv(['key', 'register'], Buffer.from(newBackupKey()).toString('hex'), RIGHT);
        assert.equal(registered.status, 0, registered.stderr);
      });
      const good = (result: { status: number | null; text: string }) =>
        assert.equal(result.status, 0, result.text);

      it('restic', () => {
        const extra = { RESTIC_PASSWORD_COMMAND: command(), RESTIC_REPOSITORY: join(work, 'restic') };
        good(run('restic', ['init'], extra));
        good(run('restic', ['backup', source], extra));
        good(run('restic', ['restore', 'latest', '--target', join(work, 'from-restic')], extra));
        assert.equal(readFileSync(join(work, 'from-restic', source, 'message.txt'), 'utf8'), 'hello');
        writeFileSync(file, 'wrong\n');
        assert.notEqual(run('restic', ['snapshots'], extra).status, 0);
        writeFileSync(file, `${RIGHT}\n`);
      });

      it('borg', () => {
        const extra = { BORG_PASSCOMMAND: command(), BORG_REPO: join(work, 'borg') };
        good(run('borg', ['init', '--encryption=repokey'], extra));
        good(run('borg', ['create', '::first', 'source'], extra));
        mkdirSync(join(work, 'from-borg'));
        good(run('borg', ['extract', '::first'], extra, join(work, 'from-borg')));
        assert.equal(readFileSync(join(work, 'from-borg', 'source', 'message.txt'), 'utf8'), 'hello');
      });

      it('rclone crypt', () => {
        const obscured = run('sh', ['-c', `${command()} | rclone obscure -`], {}).text.trim();
        const extra = {
          RCLONE_CONFIG_SAFE_TYPE: 'crypt',
          RCLONE_CONFIG_SAFE_REMOTE: join(work, 'rclone'),
          RCLONE_CONFIG_SAFE_PASSWORD: obscured,
        };
        good(run('rclone', ['copy', source, 'safe:'], extra));
        assert.ok(!existsSync(join(work, 'rclone', 'message.txt')));
        good(run('rclone', ['copy', 'safe:', join(work, 'from-rclone')], extra));
        assert.equal(readFileSync(join(work, 'from-rclone', 'message.txt'), 'utf8'), 'hello');
      });

      it('a wrong password counted, and the right one gave the attempt back', async () => {
        assert.equal((await attempts('bob')).attemptsRemaining, 10);
      });
    });
  });
});
