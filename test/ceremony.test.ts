import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon, HttpFailure } from '../rig/daemon.js';
import { isOpenCryptoki, PIN } from '../rig/token.js';
import { openCustody } from '../src/keeper/custody/index.js';
import { loadProfile } from '../src/keeper/pkcs11/index.js';

/** Skipped on openCryptoki: PINs of its software token have at most eight characters, too few for custodians. */
describe('key ceremony: a backup token, its custodians, a rehearsal and a restore', () => {
  const data = mkdtempSync(join(tmpdir(), 'bkv-ceremony-'));
  const file = (name: string) => join(data, name);
  const env = { SOFTHSM2_CONF: file('softhsm2.conf') };
  const passphrases = [
    'brisk-otter-lamp-41',
    'quiet.violin.tundra',
    'seven maples argue',
    'ozone/ferry/plinth',
  ];
  let daemon: Daemon | undefined;
  const { module } = loadProfile('hsm-config/softhsm2.yaml');

  const bkv = (args: string[], input: string[] = []) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['dist/src/cli/main.js', ...args], {
      encoding: 'utf8',
      env: { ...process.env, ...env },
      input: input.map((line) => `${line}\n`).join(''),
    });
    return { status, stdout, stderr };
  };
  const well = (args: string[], input: string[] = []): string => {
    const { status, stdout, stderr } = bkv(args, input);
    assert.equal(status, 0, `${args.join(' ')}: ${stdout}${stderr}`);
    return stdout;
  };
  const ceremony = (command: string, profile: string, ...rest: string[]) => [
    ...['token', command, '--profile', file(profile), '--custodians', file('custodians.json')],
    ...rest,
  ];
  /** The first two, because a passphrase is tried on one share after the other. */
  const custodians = passphrases.slice(0, 2);
  const others = [2, 0].map((i) => passphrases[i] as string);
  const folderOf = (label: string): string =>
    readdirSync(file('tokens'))
      .map((name) => join(file('tokens'), name))
      .find((folder) => readFileSync(join(folder, 'token.object')).includes(label)) as string;

  before(function () {
    if (isOpenCryptoki) return this.skip();
    mkdirSync(file('tokens'));
    writeFileSync(env.SOFTHSM2_CONF, `directories.tokendir = ${file('tokens')}\nlog.level = ERROR\n`);
    writeFileSync(file('pin'), PIN, { mode: 0o600 });
    for (const [name, label, restored] of [
      ['a.yaml', 'vault-a', false],
      ['b.yaml', 'vault-b', false],
      ['b-restored.yaml', 'vault-b', true],
    ])
      writeFileSync(
        file(name as string),
        JSON.stringify({
          name: 'SoftHSM2',
          module,
          token: { label },
          pin: [{ file: file('pin') }],
          restored,
        }),
      );
  });
  after(async () => {
    await daemon?.stop();
    rmSync(data, { recursive: true, force: true });
  });

  /** @param database file of the records, to serve a separate vault */
  const serve = (profile: string, database = 'records.sqlite') =>
    Daemon.start(data, {
      config: `profile: ${file(profile)}\nmaxAttempts: 5\ntokenBackup: ${file('backup.json')}\ndatabase: ${file(database)}\n`,
      env,
    });
  /** @returns `right`, `wrong`, or the status of the refusal */
  const guess = async (account: string, password: string): Promise<string | number> => {
    try {
      const { prove, abandon } = await (daemon as Daemon).startRecovery(account, password);
      return await prove().then(
        () => 'right',
        () => abandon().then(() => 'wrong'),
      );
    } catch (error) {
      if (error instanceof HttpFailure) return error.status;
      throw error;
    }
  };

  it('needs as many custodians as were agreed, and each only once', () => {
    const appoint = (...rest: string[]) => ['token', 'custodians', file('custodians.json'), ...rest];
    const weak = bkv(appoint('--threshold', '2', '--count', '4'), ['password1', ...passphrases]);
    assert.equal(weak.status, 2);
    assert.ok(!existsSync(file('custodians.json')));
    well(appoint('--threshold', '2', '--count', '4'), passphrases);
    const text = readFileSync(file('custodians.json'), 'utf8');
    for (const passphrase of passphrases) assert.ok(!text.includes(passphrase));
    const init = ceremony('init-backup', 'b.yaml', '--out', file('backup.pem'));
    const [one] = passphrases as [string];
    const twice = bkv(init, [one, one]);
    assert.equal(twice.status, 1);
    assert.match(twice.stderr, /opens no share, or its share is already open/);
    assert.equal(bkv(init, [one, 'another']).status, 1);
    assert.ok(!existsSync(file('backup.pem')));
  });

  it('makes both tokens; keys leave the first for the second only', async () => {
    const printed = well(ceremony('init-backup', 'b.yaml', '--out', file('backup.pem')), others);
    const fingerprint = /(?:[0-9a-f]{4} ?){16}/.exec(printed)?.[0].trim() as string;
    const init = ceremony('init', 'a.yaml', '--backup-key', file('backup.pem'));
    assert.ok(well(init, custodians).includes(fingerprint));
    assert.match(well(init, [passphrases[0] as string, passphrases[3] as string]), /has all its keys/);
    daemon = await serve('a.yaml');
    await daemon.register('alice', 'right');
    await daemon.register('carol', 'right');
    for (let i = 0; i < 2; i++) await (await daemon.startRecovery('alice', 'wrong')).abandon();
    await daemon.register('gone', 'right');
    await daemon.fetch('gone', 'DELETE', '/v1/account');
    for (let i = 0; i < 5; i++) await guess('carol', 'wrong');
    assert.equal(await guess('carol', 'right'), 423);
    await daemon.shred({ all: true });
    await daemon.register('late', 'right');
    assert.equal((await daemon.status('late')).attemptsRemaining, 5);
    assert.equal(await daemon.metric('bkv_token_backup_failures_total'), 0);
    assert.ok((await daemon.metric('bkv_token_backup_timestamp_seconds')) > Date.now() / 1000 - 60);
  });

  it('a rehearsal tries every key, leaves nothing, and finds what was changed', () => {
    const rehearse = ceremony('rehearse', 'b.yaml', file('backup.json'));
    const before = readdirSync(folderOf('vault-b')).length;
    assert.match(well(rehearse, custodians), /is whole: the long-lived keys and 1 page keys/);
    assert.equal(readdirSync(folderOf('vault-b')).length, before);
    const whole = readFileSync(file('backup.json'), 'utf8');
    const backup = JSON.parse(whole);
    const cells = Buffer.from(backup.content.pages[0].cells, 'base64');
    cells[cells.length - 1] = 254;
    for (const [change, reason] of [
      [
        { ...backup.content, pages: [{ ...backup.content.pages[0], cells: cells.toString('base64') }] },
        /bkv.audit/,
      ],
      [
        {
          ...backup.content,
          pair: { ...backup.content.pair, publicKey: backup.content.long.staticPublicKey },
        },
        /bkv\.wrap|bkv.audit/,
      ],
    ] as const) {
      writeFileSync(file('changed.json'), JSON.stringify({ ...backup, content: change }));
      const { status, stderr } = bkv(ceremony('rehearse', 'b.yaml', file('changed.json')), custodians);
      assert.equal(status, 1);
      assert.match(stderr, reason);
    }
  });

  it('after the loss of the token, the backup token serves every account with one attempt', async () => {
    // This account registers after the backup was made.
    await daemon?.register('after', 'right');
    await daemon?.stop();
    rmSync(folderOf('vault-a'), { recursive: true });
    const restore = (profile: string) => ceremony('restore', profile, file('backup.json'));
    const { status, stderr } = bkv(restore('b.yaml'), custodians);
    assert.equal(status, 2);
    assert.match(stderr, /restored: true/);
    well(restore('b-restored.yaml'), custodians);
    assert.match(bkv(restore('b-restored.yaml'), custodians).stderr, /PIN/);
    await assert.rejects(serve('b.yaml'), /was not made in the token/);

    daemon = await serve('b-restored.yaml');
    for (const account of ['alice', 'late', 'after'])
      assert.equal((await daemon.status(account)).attemptsRemaining, 1, account);
    assert.equal((await daemon.status('gone')).state, 'unregistered');
    assert.equal((await daemon.status('carol')).state, 'locked');
    assert.equal(await guess('alice', 'right'), 'right');
    assert.equal((await daemon.status('alice')).attemptsRemaining, 5);
    assert.equal(await guess('late', 'wrong'), 'wrong');
    assert.equal(await guess('late', 'right'), 423);
    assert.equal(await guess('after', 'right'), 'right');
    await daemon.register('new', 'right');
    assert.equal(await guess('new', 'right'), 'right');
  });

  it('a token that trusts a foreign key to wrap its own keys is refused', async () => {
    const { soPin } = await openCustody(
      readFileSync(file('custodians.json'), 'utf8'),
      async (have) => custodians[have] as string,
    );
    writeFileSync(file('c.yaml'), readFileSync(file('a.yaml'), 'utf8').replace('vault-a', 'vault-c'));
    well(ceremony('init', 'c.yaml', '--backup-key', file('backup.pem')), custodians);
    await (await serve('c.yaml', 'c.sqlite')).stop();
    const script = `
      const p11 = new (require('pkcs11js').PKCS11)();
      p11.load(process.argv[1]);
      p11.C_Initialize();
      const slot = p11.C_GetSlotList(true).find((one) => p11.C_GetTokenInfo(one).label.trim() === 'vault-c');
      const session = p11.C_OpenSession(slot, 6);
      p11.C_Login(session, 0, require('fs').readFileSync(0, 'utf8'));
      const template = { 0: 4, 0x100: 0x1f, 1: true, 2: false, 0x161: 32, 0x106: true, 0x86: true };
      const entries = Object.entries(template).map(([type, value]) => ({ type: Number(type), value }));
      p11.C_GenerateKey(session, { mechanism: 0x1080 }, entries);`;
    execFileSync(process.execPath, ['-e', script, module], {
      env: { ...process.env, ...env },
      input: soPin,
    });
    await assert.rejects(serve('c.yaml', 'c.sqlite'), /trusts a second key|only bkv.backup may be trusted/);
  });

  it('a token whose keys must never leave it cannot be made to trust a backup token', () => {
    writeFileSync(file('d.yaml'), readFileSync(file('a.yaml'), 'utf8').replace('vault-a', 'vault-d'));
    well(ceremony('init', 'd.yaml'), custodians);
    const { status, stderr } = bkv(
      ceremony('init', 'd.yaml', '--backup-key', file('backup.pem')),
      custodians,
    );
    assert.equal(status, 1);
    assert.match(stderr, /so that they never leave it/);
    for (const name of readdirSync(folderOf('vault-d')))
      assert.ok(!readFileSync(join(folderOf('vault-d'), name)).includes('bkv.backup'), name);
  });

  it('after a sweep that abandons what is lost, the next sweep gives back the cells that nobody had', async () => {
    const free = () => (daemon as Daemon).metric('bkv_ledger_cells\\{state="free"\\}');
    // Access tokens are made for the identity in the data folder, which is still that of the other token's vault.
    await daemon?.stop();
    daemon = await serve('b-restored.yaml');
    const [swept] = await daemon.shred({ all: true, abandonLost: true });
    assert.equal(swept?.done, true);
    await (daemon as Daemon).shred();
    assert.ok((await free()) > 65_000);
    for (const account of ['alice', 'after', 'new']) assert.equal(await guess(account, 'right'), 'right');
  });
});
