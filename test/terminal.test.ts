import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Daemon } from '../rig/daemon.js';
import { isAlive, processesOf } from '../rig/processes.js';
import { formatKey, newBackupKey, parseKey, VaultClient } from '../src/client/index.js';
import { KEYS, Person } from './support/pty.js';

const PASSWORD = 'purple otter under glass';

describe('the terminal', () => {
  describe('what is taken as the secret', () => {
    const ask = () => new Person(process.execPath, ['dist/test/support/ask.js'], process.env);
    const typed: [string, string[], string][] = [
      ['plain', ['secret'], 'secret'],
      ['Ctrl-U', ['wrong', KEYS.ctrlU, 'secret'], 'secret'],
      ['Ctrl-W', ['two words', KEYS.ctrlW, 'wings'], 'two wings'],
      ['backspace over several bytes', ['aé🔑', KEYS.backspace, KEYS.backspace, 'b'], 'ab'],
      ['backspace over an accent of its own', ['ae\u0301', KEYS.backspace, 'b'], 'ab'],
      ['backspace over a family', ['a👨‍👩‍👧', KEYS.backspace, 'b'], 'ab'],
      ['backspace on nothing', [KEYS.backspace, 'a'], 'a'],
      ['arrows', ['ac', KEYS.left, 'b', KEYS.up, KEYS.end, 'd'], 'abcd'],
      ['an arrow, and then a paste', ['ad', KEYS.left, 'bc'], 'abcd'],
      ['Home and Delete', ['xab', KEYS.home, KEYS.delete, KEYS.end, KEYS.delete], 'ab'],
      ['bracketed paste', ['\x1b[200~', 'pa ste', '\x1b[201~'], 'pa ste'],
      ['Ctrl-D behind characters', ['ab', KEYS.ctrlD, 'c'], 'abc'],
      ['function keys', ['a', '\x1bOP', '\x1b[15~', '\x1b[1;5C', 'b'], 'ab'],
    ];
    for (const [name, keys, secret] of typed)
      it(name, async () => {
        const person = ask();
        await person.sees(/First: /);
        person.type(...keys, KEYS.enter);
        await person.sees(new RegExp(`${Buffer.from(secret).toString('hex')};`));
        await person.sees(/Second: /);
        person.type(KEYS.up, 'other', KEYS.enter);
        await person.sees(/6f74686572;/);
        assert.equal(await person.ends(), 0);
        assert.ok(!person.screen.includes('other') && !person.screen.includes(secret), 'nothing is shown');
      });

    it('a character whose bytes come one by one', async () => {
      const person = ask();
      await person.sees(/First: /);
      for (const byte of Buffer.from('é🔑')) person.type(Buffer.from([byte]) as never);
      person.type(KEYS.enter);
      await person.sees(/c3a9f09f9491;/);
      person.type(KEYS.ctrlC);
      assert.equal(await person.ends(), 130);
    });

    it('two lines pasted at once are two answers', async () => {
      const person = ask();
      await person.sees(/First: /);
      person.type('one\rtwo\r');
      await person.sees(/6f6e65;/);
      await person.sees(/74776f;/);
      assert.equal(await person.ends(), 0);
    });

    it('a window that is resized', async () => {
      const person = ask();
      await person.sees(/First: /);
      person.type('sec');
      person.resize(20, 5);
      person.type('ret', KEYS.enter);
      await person.sees(/736563726574;/);
      person.resize(200, 50);
      person.type('b', KEYS.enter);
      await person.sees(/62;/);
    });

    for (const [name, key, code] of [
      ['Ctrl-C', KEYS.ctrlC, 130],
      ['Ctrl-D on an empty line', KEYS.ctrlD, 2],
    ] as const)
      it(`${name} ends it, at either prompt, and the terminal is as it was`, async () => {
        for (const before of [[], ['a', KEYS.enter]]) {
          const person = new Person(
            'sh',
            ['-c', `stty -g; ${process.execPath} dist/test/support/ask.js; echo "code $?"; stty -g`],
            process.env,
          );
          const mode = await person.sees(/[0-9a-f:]{30,}/);
          await person.sees(/First: /);
          person.type(...before);
          if (before.length > 0) await person.sees(/Second: /);
          person.type(key);
          await person.sees(new RegExp(`code ${code}`));
          assert.equal(await person.sees(/[0-9a-f:]{30,}/), mode);
          await person.ends();
        }
      });

    for (const signal of ['TERM', 'HUP', 'INT'])
      it(`SIG${signal} ends it, and the terminal is as it was`, async () => {
        const person = new Person(
          'sh',
          [
            '-c',
            `stty -g; ${process.execPath} dist/test/support/ask.js & echo "pid $!"; fg 2>/dev/null || wait $!; stty -g`,
          ],
          process.env,
        );
        const mode = await person.sees(/[0-9a-f:]{30,}/);
        const pid = Number((await person.sees(/pid \d+/)).slice(4));
        await person.sees(/First: /);
        process.kill(pid, `SIG${signal}`);
        assert.equal(await person.sees(/[0-9a-f:]{30,}/), mode);
        await person.ends();
      });

    it('a terminal that goes away ends it', async () => {
      const person = ask();
      await person.sees(/First: /);
      person.type('half of');
      person.hangUp();
      assert.notEqual(await person.ends(), 0);
    });

    it('a vault ends with its terminal, but not at a SIGHUP before that', async () => {
      const work = mkdtempSync(join(tmpdir(), 'bkv-terminal-'));
      const loopback = '127.0.0.1:0';
      const args = ['serve', '--data', work, '--listen', loopback, '--admin', loopback];
      const person = new Person(process.execPath, ['dist/src/cli/main.js', ...args], process.env);
      // The side for clients and that for the operator may start in either order.
      for (const _ of ['clients', 'operator']) await person.sees(/"message":"serving/);
      process.kill(person.pid, 'SIGHUP');
      const { all } = processesOf(person.pid);
      assert.ok(all.length >= 4);
      await setTimeout(500);
      assert.ok(all.every(isAlive));
      person.close();
      assert.equal(await person.ends(), -constants.signals.SIGHUP);
      assert.deepEqual(all.filter(isAlive), []);
      rmSync(work, { recursive: true });
    });

    it('standard input may be taken by another program', async () => {
      const person = new Person(
        'sh',
        ['-c', `true | ${process.execPath} dist/test/support/ask.js 2>/dev/null | cat`],
        process.env,
      );
      await person.sees(/First: /);
      person.type('a', KEYS.enter);
      await person.sees(/Second: /);
      person.type('b', KEYS.enter);
      await person.ends();
      assert.match(person.screen, /61;[\s\S]*62;/);
    });
  });

  describe('every command that asks', () => {
    const work = mkdtempSync(join(tmpdir(), 'bkv-terminal-'));
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
    /** A client with Argon2id, as the command uses it. The tests' usual client skips it. */
    const client = (account: string) =>
      new VaultClient({
        url: daemon.url,
        serverPublicKey: Buffer.from(daemon.serverPublicKey, 'base64url'),
        account,
        accessToken: () => daemon.jwt(account),
      });
    const bkv = (...args: string[]) => new Person(process.execPath, ['dist/src/cli/main.js', ...args], env);
    const piped = (args: string[], ...lines: string[]) =>
      spawnSync(process.execPath, ['dist/src/cli/main.js', ...args], {
        input: lines.map((line) => `${line}\n`).join(''),
        encoding: 'utf8',
        env,
      });
    const key = newBackupKey();
    const keyFile = join(work, 'key');
    const otherFile = join(work, 'other');
    before(async () => {
      mkdirSync(join(work, 'vault'));
      writeFileSync(keyFile, formatKey(key));
      writeFileSync(otherFile, formatKey(newBackupKey()));
      daemon = await Daemon.start(join(work, 'vault'), {
        config: 'rateLimit: { account: 1000, address: 1000 }\n',
      });
      await as('alice');
    });
    after(async () => {
      await daemon.stop();
      rmSync(work, { recursive: true, force: true });
    });
    const twice = async (person: Person, password: string) => {
      await person.sees(/New password: /);
      person.type(password, KEYS.enter);
      await person.sees(/Once more: +/);
      person.type(password, KEYS.enter);
    };

    it('key register takes the four lines of a key as they are pasted, and a second try at the password', async () => {
      const person = bkv('key', 'register', '--remember');
      await person.sees(/64 digits\): /);
      person.type(formatKey(key).replaceAll('\n', '\r'), KEYS.enter);
      await person.sees(/New password: /);
      person.type('password', KEYS.enter);
      await person.sees(/among the first that are guessed/);
      await person.sees(/New password: /);
      person.type('purple otter', KEYS.ctrlU, PASSWORD, KEYS.enter);
      await person.sees(/Once more: +/);
      person.type('something else', KEYS.enter);
      await person.sees(/differ/);
      await twice(person, PASSWORD);
      await person.sees(/The vault holds the key/);
      assert.equal(await person.ends(), 0);
      assert.deepEqual((await client('alice').recover(PASSWORD)).backupKey, key);
    });

    it('Ctrl-C at "Once more" registers nothing', async () => {
      await as('carol');
      const person = bkv('key', 'register', '--key-file', keyFile);
      await person.sees(/New password: /);
      person.type(PASSWORD, KEYS.enter);
      await person.sees(/Once more: +/);
      person.type(KEYS.ctrlC);
      assert.equal(await person.ends(), 130);
      assert.equal((await client('carol').status()).state, 'unregistered');
      await as('alice');
    });

    it('key register with a second key says what is lost, and asks', async () => {
      const refused = bkv('key', 'register', '--key-file', otherFile);
      await refused.sees(/The vault holds a key for this account/);
      await refused.sees(/Type "replace"/);
      refused.type('yes', KEYS.enter);
      assert.equal(await refused.ends(), 2);
      assert.equal(piped(['key', 'register', '--key-file', otherFile], 'another good one of mine').status, 2);
      assert.deepEqual((await client('alice').recover(PASSWORD)).backupKey, key);
      const agreed = bkv('key', 'register', '--key-file', keyFile);
      await agreed.sees(/Type "replace"/);
      agreed.type('replace', KEYS.enter);
      await twice(agreed, PASSWORD);
      assert.equal(await agreed.ends(), 0);
    });

    it('key recover, check-password and change-password', async () => {
      const recovering = bkv('key', 'recover');
      await recovering.sees(/Password: /);
      recovering.type('x', KEYS.backspace, PASSWORD, KEYS.left, KEYS.enter);
      await recovering.sees(new RegExp(formatKey(key).split('\n')[3] as string));
      assert.equal(await recovering.ends(), 0);
      const checking = bkv('key', 'check-password');
      await checking.sees(/Password: /);
      checking.type(PASSWORD, KEYS.enter);
      await checking.sees(/That is your password/);
      assert.equal(await checking.ends(), 0);
      const changing = bkv('key', 'change-password');
      await changing.sees(/Old password: /);
      changing.type(PASSWORD, KEYS.enter);
      await twice(changing, 'Zwölf 🔑 Schlüssel');
      assert.equal(await changing.ends(), 0);
      assert.deepEqual((await client('alice').recover('Zwölf 🔑 Schlüssel')).backupKey, key);
    });

    it('the digits of a key are never sent as a password', async () => {
      const digits = formatKey(key).split('\n');
      for (const text of [digits.join(' '), digits[0] as string, digits.join('').slice(1).replace('0', 'O')])
        assert.equal(piped(['key', 'recover'], text).status, 2);
      const status = await client('alice').status();
      assert.equal('attemptsRemaining' in status && status.attemptsRemaining, 10);
    });

    it('key to-digits asks for a line of digits before the vault forgets the key', async () => {
      const interrupted = bkv('key', 'to-digits');
      await interrupted.sees(/Password: /);
      interrupted.type('Zwölf 🔑 Schlüssel', KEYS.enter);
      await interrupted.sees(/Type line \d/);
      interrupted.type('0000', KEYS.enter);
      await interrupted.sees(/That is not the line/);
      await interrupted.sees(/Type line \d/);
      interrupted.type(KEYS.ctrlC);
      await interrupted.sees(/The vault still holds the key/);
      assert.equal(await interrupted.ends(), 130);
      assert.equal((await client('alice').status()).state, 'registered');

      const person = bkv('key', 'to-digits');
      await person.sees(/Password: /);
      person.type('Zwölf 🔑 Schlüssel', KEYS.enter);
      const line = Number((await person.sees(/Type line \d/)).at(-1));
      person.type((formatKey(key).split('\n')[line - 1] as string).toUpperCase(), KEYS.enter);
      await person.sees(/has forgotten the key/);
      assert.equal(await person.ends(), 0);
      assert.equal((await client('alice').status()).state, 'unregistered');
    });

    it('key delete says what is lost, and asks', async () => {
      await as('dave');
      await client('dave').register(PASSWORD, key);
      assert.equal(piped(['key', 'delete']).status, 2);
      const refused = bkv('key', 'delete');
      await refused.sees(/cannot be opened/);
      await refused.sees(/Type "delete"/);
      refused.type(KEYS.ctrlD);
      assert.equal(await refused.ends(), 2);
      assert.equal((await client('dave').status()).state, 'registered');
      const person = bkv('key', 'delete');
      await person.sees(/Type "delete"/);
      person.type('delete', KEYS.enter);
      assert.equal(await person.ends(), 0);
      assert.equal((await client('dave').status()).state, 'unregistered');
      assert.equal(piped(['key', 'delete', '--yes']).status, 0);
    });

    it('key to-digits into an output that keeps nothing leaves the key with the vault', async () => {
      await as('erin');
      await client('erin').register(PASSWORD, key);
      const shell = (script: string) =>
        spawnSync('bash', ['-c', `bkv() { ${process.execPath} dist/src/cli/main.js "$@"; }; ${script}`], {
          input: `${PASSWORD}\n`,
          encoding: 'utf8',
          env,
        });
      const kept = async (script: string) => {
        const { status, stderr } = shell(script);
        assert.notEqual(status, 0, script);
        assert.match(stderr, /bkv: /);
        assert.equal((await client('erin').status()).state, 'registered', script);
      };
      await kept('set -o pipefail; bkv key to-digits | cat');
      await kept('bkv key to-digits --yes > >(exec true); exit $?');
      await kept('bkv key to-digits > /dev/full');
      await kept('bkv key to-digits --yes > /dev/full');
      await kept('bkv key to-digits --out /dev/full');
      await kept(`bkv key to-digits --out ${keyFile}`);
      await kept(`bkv key to-digits --out ${join(work, 'none', 'key')}`);
      await kept(`ulimit -f 0; trap '' XFSZ; bkv key to-digits --out ${join(work, 'too-large')}`);
      const out = join(work, 'digits');
      assert.equal(shell(`bkv key to-digits > ${out}`).status, 0);
      assert.deepEqual(parseKey(readFileSync(out, 'utf8')), key);
      assert.equal((await client('erin').status()).state, 'unregistered');
    });

    it('a ceremony asks each custodian twice', async () => {
      const file = join(work, 'custodians');
      const person = bkv('token', 'custodians', file, '--threshold', '2', '--count', '2');
      for (const passphrase of ['seven quiet herons at dawn', 'a kettle full of brass keys']) {
        await person.sees(/Custodian \d of 2/);
        await twice(person, passphrase);
      }
      assert.equal(await person.ends(), 0);
      assert.match(readFileSync(file, 'utf8'), /threshold/);
    });
  });
});
