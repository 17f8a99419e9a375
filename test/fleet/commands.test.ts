import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from '../../rig/daemon.js';
import { newBackupKey } from '../../src/client/index.js';
import { KEYS, Person } from '../support/pty.js';

const MAIN = 'dist/src/cli/main.js';

describe('bkv and a fleet, on a terminal', function () {
  this.timeout(300_000);
  const work = mkdtempSync(join(tmpdir(), 'bkv-fleet-commands-'));
  const file = join(work, 'fleet.yaml');
  const daemons: Daemon[] = [];
  // The command by which an app gets access tokens: it is told the vault, and prints a token for it.
  const command = `echo "$BKV_VAULT_URL" >>${work}/asked; ${process.execPath} ${MAIN} jwt --data ${work}/a --account alice --server-key "$BKV_VAULT_IDENTITY"`;
  const env = { ...process.env, BKV_FLEET: file, BKV_ACCOUNT: 'alice', BKV_ACCESS_TOKEN_COMMAND: command };
  const bkv = (...args: string[]) =>
    execFileSync(process.execPath, [MAIN, ...args], { env, encoding: 'utf8' });
  const person = (...args: string[]) => new Person(process.execPath, [MAIN, ...args], env);
  before(async () => {
    for (const name of ['a', 'b', 'c']) {
      mkdirSync(join(work, name));
      const auth = name === 'a' ? '' : `auth: { jwks: ${work}/a/issuer.jwks.json, issuer: bkv-embedded }\n`;
      daemons.push(await Daemon.start(join(work, name), { config: auth }));
    }
    writeFileSync(file, bkv('fleet', 'pin', '--threshold', '2', ...daemons.map(({ url }) => url)));
    bkv('key', 'new', '--out', join(work, 'key'));
  });
  after(async () => {
    await Promise.all(daemons.map((daemon) => daemon.stop()));
    rmSync(work, { recursive: true, force: true });
  });

  it('says what a fleet file means, and what a move to another fleet changes', () => {
    const plan = bkv('fleet', 'plan');
    assert.match(plan, /3 vaults, of which any 2 recover a key/);
    assert.match(plan, /guessed at 15 times between two logins/);
    const { vaults, threshold, guesses } = JSON.parse(bkv('fleet', 'plan', '--json'));
    assert.deepEqual({ vaults, threshold, guesses }, { vaults: 3, threshold: 2, guesses: [15, 20] });
    const [one, two] = daemons as [Daemon, Daemon];
    const moved = join(work, 'moved.yaml');
    const pinned = bkv('fleet', 'pin', '--threshold', '2', one.url, two.url);
    writeFileSync(moved, `${pinned}predecessors: [fleet.yaml]\n`);
    assert.match(bkv('fleet', 'plan', '--fleet', moved), /2 vaults stay, 0 join, 1 leave/);
  });

  it('gets an access token for each vault from the command, and registers', async () => {
    // One of the vaults already has a key of the account by itself, so the command asks first whether to replace it.
    await (daemons[0] as Daemon).client('alice').register('of one vault', newBackupKey());
    assert.match(bkv('status'), /unregistered\n.* holds a key that is not the fleet's/);
    const registers = person('key', 'register', '--key-file', join(work, 'key'));
    await registers.sees(/by itself, holds a key/);
    registers.type('replace', KEYS.enter);
    await registers.sees(/password: /i);
    registers.type('correct horse battery staple', KEYS.enter);
    await registers.sees(/once more|again|repeat/i);
    registers.type('correct horse battery staple', KEYS.enter);
    await registers.sees(/The vault holds the key/);
    assert.equal(await registers.ends(), 0);
    const asked = execFileSync('sort', ['-u', join(work, 'asked')], { encoding: 'utf8' });
    assert.deepEqual(asked.trim().split('\n'), daemons.map(({ url }) => url).sort());
    assert.match(bkv('status'), /registered, 10 attempts left/);
  });

  const tries = async (password: string): Promise<{ code: number; screen: string }> => {
    const recovers = person('key', 'recover');
    await recovers.sees(/password: /i);
    recovers.type(password, KEYS.enter);
    const code = await recovers.ends();
    return { code, screen: recovers.screen };
  };

  it('ends with 3 for a wrong password, and with 6 if too few vaults are up to tell', async () => {
    assert.equal((await tries('wrong')).code, 3);
    await (daemons[2] as Daemon).stop();
    assert.equal((await tries('wrong')).code, 6);
    const { code, screen } = await tries('correct horse battery staple');
    assert.equal(code, 0, screen);
    assert.match(screen, /did not answer/);
    assert.match(screen, /2 attempts to open the key failed/);
    assert.doesNotMatch(screen, /wrong answer|goes on with it/);
  });
});
