import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { freshToken, isOpenCryptoki } from '../rig/token.js';
import { TokenError } from '../src/keeper/pkcs11/index.js';
import type { Profile } from '../src/keeper/pkcs11/profile.js';
import { type Question, Witness } from '../src/keeper/pkcs11/witness.js';
import { TokenPool } from '../src/keeper/pool/index.js';
import { NEVER, Plan } from './support/io-plan.js';

describe('the witness of what a token was told to keep', () => {
  let folder: string;
  let profile: Profile;
  let token: TokenPool;
  let witness: Witness;
  before(async function () {
    if (isOpenCryptoki) return this.skip();
    const tokens = join(process.env.BKV_DATA as string, 'tokens');
    const before = new Set(readdirSync(tokens));
    profile = freshToken();
    folder = join(tokens, readdirSync(tokens).find((name) => !before.has(name)) as string);
    token = await TokenPool.open(profile);
    witness = new Witness(profile);
  });
  after(async () => {
    witness?.end();
    await token?.close();
  });

  const objects = () => new Set(readdirSync(folder).filter((name) => name.endsWith('.object')));
  const views = () => readdirSync(folder).filter((name) => name.startsWith('witness.'));
  /** @returns path of the object file that `make` made */
  const fileOf = async (make: () => Promise<unknown>): Promise<string> => {
    const before = objects();
    await make();
    const [made, ...others] = [...objects()].filter((name) => !before.has(name));
    assert.ok(made && others.length === 0);
    return join(folder, made);
  };
  const refuses = (question: Question) =>
    assert.rejects(
      () => witness.confirm(question),
      (error) => error instanceof TokenError && error.reason === 'BKV_NOT_WRITTEN',
    );
  const value = Buffer.alloc(3000, 7);

  it('sees an object that is whole, and leaves no link to it', async () => {
    for (const data of ['bkv.one', 'bkv.two', 'bkv.three']) {
      await token.call('createData', data, value);
      await witness.confirm({ data, value });
      assert.deepEqual(views(), []);
    }
  });

  it('takes nothing from another witness that is at work, and removes what one left that was killed', async () => {
    const dead = spawnSync('true').pid;
    const left = (pid: number) =>
      [`witness.${pid}`, `0.object.${pid}-0.new`].map((name) => join(folder, name));
    for (const path of [...left(process.ppid), ...left(dead)]) mkdirSync(path);
    const other = new Witness(profile);
    await other.ready();
    other.end();
    assert.deepEqual(
      left(process.ppid).map((path) => existsSync(path)),
      [true, true],
    );
    assert.deepEqual(
      left(dead).map((path) => existsSync(path)),
      [false, false],
    );
    for (const path of left(process.ppid)) rmdirSync(path);
  });

  it('sees that an object was cut off, at any length', async () => {
    const path = await fileOf(() => token.call('createData', 'bkv.cut', value));
    const whole = readFileSync(path);
    for (const length of [0, 8, 100, whole.length >> 1, whole.length - 1]) {
      // The file is removed and written anew, because the witness looks only at new objects.
      rmSync(path);
      await witness.confirm({ noKey: 'none' });
      writeFileSync(path, whole.subarray(0, length), { mode: 0o600 });
      await refuses({ data: 'bkv.cut', value });
    }
  });

  it('sees that an object is not there, or has other bytes', async () => {
    await refuses({ data: 'bkv.absent', value });
    await token.call('createData', 'bkv.other', value);
    await refuses({ data: 'bkv.other', value: Buffer.alloc(3000, 8) });
  });

  it('sees whether a page key was kept, and whether it is gone', async () => {
    const make = async (label: string) => {
      let question: Question | undefined;
      const path = await fileOf(async () => {
        await token.generatePageKey(label);
        const data = Buffer.from('data');
        question = { pageKey: label, data, mac: await token.call('hmac', label, data) };
      });
      return { path, question: question as Question };
    };
    const kept = await make('bkv.page.1');
    await witness.confirm(kept.question);
    const cut = await make('bkv.page.2');
    truncateSync(cut.path, 300);
    await refuses(cut.question);
    await refuses({ noKey: 'bkv.page.1' });
    await token.destroyPageKey('bkv.page.1');
    await witness.confirm({ noKey: 'bkv.page.1' });
  });

  it('writes another process’s object again if its sync fails, because a second sync would prove nothing', async () => {
    const work = mkdtempSync(join(tmpdir(), 'bkv-witness-plan-'));
    const plan = new Plan(work, folder);
    await token.call('createData', 'bkv.left', value);
    const left = [...objects()].map((name) => join(folder, name));
    const before = left.map((path) => ({ bytes: readFileSync(path), inode: statSync(path).ino }));
    Object.assign(process.env, plan.env);
    const second = new Witness(profile);
    try {
      await second.ready();
      const looks = () => second.confirm({ data: 'bkv.left', value });
      let said = '';
      // The first writes only make the witness's view of the token.
      for (let first = 1n; first < 20n && !said.includes('not on the disk'); first++) {
        plan.fail(first, NEVER);
        await assert.rejects(looks(), ({ message }: Error) => {
          said = message;
          return true;
        });
      }
      plan.fail(NEVER, NEVER);
      await looks();
      assert.deepEqual(
        left.map((path) => readFileSync(path)),
        before.map(({ bytes }) => bytes),
      );
      const anew = left.filter((path, i) => statSync(path).ino !== before[i]?.inode);
      assert.equal(anew.length, 1);
      assert.equal((await token.call('listData', 'bkv.left')).length, 1);
    } finally {
      second.end();
      for (const name of Object.keys(plan.env)) delete process.env[name];
      plan.close();
      rmSync(work, { recursive: true });
    }
  });

  it('is begun again if it has ended between two questions', async () => {
    const children = () =>
      readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ').map(Number);
    const second = new Witness(profile);
    try {
      const before = children();
      await second.ready();
      const [child, ...others] = children().filter((pid) => !before.includes(pid)) as [number];
      assert.equal(others.length, 0);
      process.kill(child, 'SIGKILL');
      while (children().includes(child)) await setTimeout(10);
      await second.ready();
      await token.call('createData', 'bkv.again', value);
      await second.confirm({ data: 'bkv.again', value });
    } finally {
      second.end();
    }
  });

  it('asks about the disk only if the token did not keep an object', async () => {
    await assert.rejects(witness.confirm({ data: 'bkv.absent', value }), /did not keep .*is the disk full\?/);
    const absent = new Witness({ ...profile, token: { label: 'absent' } });
    await assert.rejects(
      absent.confirm({ data: 'bkv.one', value }),
      ({ message }: Error) => !message.includes('disk'),
    );
  });

  it('sees objects older than itself, and removes what a killed witness left behind', async () => {
    const killed = `witness.${spawnSync('true').pid}`;
    mkdirSync(join(folder, killed));
    writeFileSync(join(folder, killed, 'left.object'), '');
    const second = new Witness(profile);
    await token.call('createData', 'bkv.early', value);
    await second.confirm({ data: 'bkv.early', value });
    second.end();
    assert.deepEqual(views(), []);
  });
});
