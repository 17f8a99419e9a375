import assert from 'node:assert/strict';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Daemon } from '../rig/daemon.js';
import { freshToken, isOpenCryptoki, PIN, run } from '../rig/token.js';
import { KEY_LABELS, type Profile } from '../src/keeper/pkcs11/index.js';
import { TokenPool } from '../src/keeper/pool/index.js';
import { Quirks } from './support/quirks.js';

/** SoftHSM2 copies nothing by itself. The test does what a cluster does: it copies the object files under another label. */
describe('two tokens of a cluster', () => {
  const data = mkdtempSync(join(tmpdir(), 'bkv-cluster-'));
  const tokens = join(data, 'tokens');
  const conf = join(data, 'softhsm2.conf');
  let daemon: Daemon;
  let first: string;
  const second = join(tokens, 'ffffffff-0000-0000-0000-000000000000');
  const away = join(data, 'away');
  const replicate = () => {
    rmSync(second, { recursive: true, force: true });
    cpSync(first, second, { recursive: true });
    const path = join(second, 'token.object');
    writeFileSync(
      path,
      Buffer.from(readFileSync(path, 'latin1').replace('cluster-a', 'cluster-b'), 'latin1'),
    );
  };
  const guess = async () => (await daemon.startRecovery('alice', 'wrong')).abandon();
  const remaining = async () => (await daemon.status('alice')).attemptsRemaining;
  before(async function () {
    // openCryptoki keeps the files of its tokens where the test cannot copy them.
    if (isOpenCryptoki) return this.skip();
    mkdirSync(tokens);
    writeFileSync(conf, `directories.tokendir = ${tokens}\nlog.level = ERROR\n`);
    const profile = join(data, 'profile.yaml');
    const pin = join(data, 'token-pin');
    writeFileSync(pin, PIN, { mode: 0o600 });
    writeFileSync(join(data, 'so-pin'), '87654321', { mode: 0o600 });
    writeFileSync(
      profile,
      readFileSync('hsm-config/softhsm2.yaml', 'utf8')
        .replace(/^ {2}label: bkv$/m, '  label: cluster-a\nstandby:\n  - label: cluster-b')
        .replace(/\$\{BKV_DATA\}.token-pin/, pin),
    );
    const before = process.env.SOFTHSM2_CONF;
    process.env.SOFTHSM2_CONF = conf;
    run('dist/src/cli/main.js', 'token', 'init', '--profile', profile, '--so-pin-file', join(data, 'so-pin'));
    process.env.SOFTHSM2_CONF = before;
    first = join(tokens, readdirSync(tokens)[0] as string);
    daemon = await Daemon.start(data, { config: `profile: ${profile}\n`, env: { SOFTHSM2_CONF: conf } });
    await daemon.register('alice', 'right');
  });
  after(async () => {
    await daemon?.stop();
    rmSync(data, { recursive: true, force: true });
  });

  it('the second takes over with every counter when the first is away', async () => {
    for (let i = 0; i < 3; i++) await guess();
    replicate();
    renameSync(first, away);
    await guess().catch(() => undefined);
    await daemon.until(false);
    await daemon.until(true);
    assert.ok((await remaining()) <= 7);
    await guess();
    assert.ok((await remaining()) <= 6);
    await (await daemon.startRecovery('alice', 'right')).prove();
    assert.equal(await remaining(), 10);
  });

  it('a token that lacks acknowledged counters is refused', async () => {
    // The first token comes back in its old state, without what the second has counted since.
    await guess();
    renameSync(away, first);
    renameSync(second, away);
    await guess().catch(() => undefined);
    await daemon.until(false);
    while (!/older than those that were acknowledged/.test(daemon.logs)) await setTimeout(50);
    await assert.rejects(guess());
    assert.equal(await daemon.ready(), false);
    // SoftHSM2 cannot have two tokens with the same serial number.
    renameSync(first, join(data, 'old'));
    renameSync(away, second);
    await daemon.until(true);
    assert.equal(await remaining(), 9);
  });
});

describe('the tokens of a cluster at the same time', () => {
  let first: Profile;
  let folder: string;
  const copy = { label: '' };
  before(async function () {
    if (isOpenCryptoki) return this.skip();
    const conf = readFileSync(process.env.SOFTHSM2_CONF as string, 'utf8');
    folder = /tokendir = (.*)/.exec(conf)?.[1] as string;
    first = freshToken();
    const label = first.token.label as string;
    copy.label = label.replace('test', 'copy');
    const source = readdirSync(folder)
      .map((name) => join(folder, name))
      .find((one) => readFileSync(join(one, 'token.object')).includes(label.padEnd(32))) as string;
    const target = join(folder, 'ffffffff-0000-0000-0000-000000000001');
    cpSync(source, target, { recursive: true });
    const object = readFileSync(join(target, 'token.object'), 'latin1').replace(label, copy.label);
    const serial = /[0-9a-f]{16}/.exec(object)?.[0] as string;
    writeFileSync(
      join(target, 'token.object'),
      Buffer.from(object.replace(serial, `${serial.slice(0, 12)}abcd`), 'latin1'),
    );
    await keyIn(first, 'bkv.page.0.1');
    await keyIn({ ...first, token: copy }, 'bkv.page.0.2');
  });
  const keyIn = async (profile: Profile, label: string) => {
    const token = await TokenPool.open(profile);
    await token.generatePageKey(label);
    await token.close();
  };
  const used = async (token: TokenPool, label: string): Promise<number> => {
    const calls = Array.from({ length: 40 }, () => token.call('hmac', label, Buffer.from('data')));
    return (await Promise.allSettled(calls)).filter(({ status }) => status === 'fulfilled').length;
  };

  it('evaluate both, and a key that was not copied yet is used in the first', async () => {
    const token = await TokenPool.open({ ...first, standby: [copy], spread: true, sessions: 2 });
    try {
      assert.equal(await used(token, 'bkv.page.0.1'), 40);
      const byCopy = await used(token, 'bkv.page.0.2');
      assert.ok(byCopy > 0 && byCopy < 40, `${byCopy} of 40`);
      // Objects are listed in the first token only.
      const seen = await token.listPageKeys('bkv.page.0.');
      assert.deepEqual(
        seen.map(({ label }) => label),
        ['bkv.page.0.1'],
      );
      await token.generatePageKey('bkv.page.0.3');
      assert.equal(await used(token, 'bkv.page.0.3'), 40);
    } finally {
      await token.close();
    }
  });

  it('a session on a standby token that fails is opened again there', async () => {
    const quirks = new Quirks();
    try {
      const { module } = quirks.here();
      const token = await TokenPool.open({ ...first, module, standby: [copy], spread: true, sessions: 2 });
      try {
        // The standby token's session is opened last.
        quirks.set('fail C_DeriveKey 30 last');
        const element = Buffer.from(await token.call('publicKey', KEY_LABELS.static));
        const calls = Array.from({ length: 40 }, () =>
          token.call('multiply', { label: KEY_LABELS.static }, element),
        );
        assert.ok((await Promise.allSettled(calls)).some(({ status }) => status === 'rejected'));
        quirks.set();
        let byCopy = 0;
        for (let i = 0; i < 50 && byCopy === 0; i++) {
          byCopy = await used(token, 'bkv.page.0.2');
          await setTimeout(50);
        }
        assert.ok(byCopy > 0);
        assert.equal(token.state, 'up');
      } finally {
        await token.close();
      }
    } finally {
      quirks.discard();
    }
  });

  it('a token with other keys is not used', async () => {
    const stranger = freshToken();
    await keyIn(stranger, 'only-stranger');
    const token = await TokenPool.open({ ...first, standby: [stranger.token], spread: true, sessions: 2 });
    try {
      assert.equal(await used(token, 'only-stranger'), 0);
      assert.equal(await used(token, 'bkv.page.0.1'), 40);
    } finally {
      await token.close();
    }
  });
});
