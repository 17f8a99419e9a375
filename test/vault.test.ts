import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Daemon } from '../rig/daemon.js';
import {
  Locked,
  newBackupKey,
  VaultError,
  VaultIdentityMismatch,
  WrongPassword,
} from '../src/client/index.js';
import { openSqlite } from '../src/keeper/records/sqlite.js';
import { generateKE1 } from '../src/protocol/index.js';

const startBody = () => ({ KE1: Buffer.from(generateKE1(Buffer.from('a guess')).KE1).toString('base64url') });

describe('the vault over HTTP, on a token of its own', () => {
  const data = mkdtempSync(join(tmpdir(), 'bkv-vault-'));
  // The rate limits are above what a test sends, so that they do not stop a guesser here.
  const config = 'rateLimit: { account: 1000, address: 10000 }\n';
  let daemon: Daemon;
  before(async () => {
    daemon = await Daemon.start(data, { config });
  });
  after(async () => {
    await daemon.stop();
    rmSync(data, { recursive: true, force: true });
  });

  it('registers, recovers, counts wrong passwords, gives attempts back, registers again, deletes', async () => {
    const alice = daemon.client('alice');
    const key = newBackupKey();
    assert.deepEqual(await alice.status(), { state: 'unregistered' });
    await alice.register('Pässwort 🔑', key);
    await assert.rejects(
      alice.recover('wrong'),
      (error: WrongPassword) => error instanceof WrongPassword && error.attemptsRemaining === 9,
    );
    assert.deepEqual(await alice.status(), { state: 'registered', attemptsRemaining: 9, dealings: [] });
    const recovered = await alice.recover('Pa\u0308sswort\u00a0🔑');
    assert.deepEqual(recovered, { backupKey: key, failedAttempts: 1 }, 'normalised as RFC 8265 says');
    assert.deepEqual(await alice.status(), { state: 'registered', attemptsRemaining: 10, dealings: [] });
    const other = newBackupKey();
    await alice.register('second', other, { replace: true });
    await assert.rejects(alice.recover('Pässwort 🔑'), WrongPassword);
    assert.deepEqual(await alice.changePassword('second', 'third'), { failedAttempts: 1 });
    assert.deepEqual(await alice.recover('third'), { backupKey: other, failedAttempts: 0 });
    await alice.delete();
    assert.deepEqual(await alice.status(), { state: 'unregistered' });
    await assert.rejects(alice.recover('third'), WrongPassword);
  });

  it('evaluates exactly as many of 200 concurrent wrong passwords as the limit allows, then is locked for ever', async () => {
    const bob = daemon.client('bob');
    await bob.register('right', newBackupKey());
    const answers = await Promise.all(
      Array.from({ length: 200 }, () => daemon.fetch('bob', 'POST', '/v1/recovery/start', startBody())),
    );
    assert.deepEqual(
      [200, 429].map((status) => answers.filter((answer) => answer.status === status).length),
      [10, 190],
      'not locked as long as one of the ten may prove the password',
    );
    for (const answer of answers) {
      if (answer.status !== 200) continue;
      const { recoveryId } = (await answer.json()) as { recoveryId: string };
      await daemon.fetch('bob', 'DELETE', `/v1/recovery/${recoveryId}`);
    }
    await assert.rejects(bob.recover('right'), Locked);
  });

  it('leaves nothing of a locked account in the database', async () => {
    const eve = daemon.client('eve');
    await eve.register('right', newBackupKey());
    const database = openSqlite(join(data, 'records.sqlite'), { readonly: true });
    const name = await daemon.nameOf('eve');
    const bytes = () =>
      database.prepare('SELECT length(sealed) FROM records WHERE account = ?').pluck().get(name);
    assert.ok(Number(bytes()) > 200);
    for (let i = 0; i < 10; i++) await assert.rejects(eve.recover('wrong'), /wrong password|locked/i);
    for (let i = 0; i < 100 && bytes() !== 0; i++) await setTimeout(20);
    assert.equal(bytes(), 0);
    database.close();
  });

  it('answers an unknown account like a known one, and counts it down', async () => {
    const left: number[] = [];
    const open: string[] = [];
    for (let i = 0; i < 10; i++) {
      const response = await daemon.fetch('nobody', 'POST', '/v1/recovery/start', startBody());
      const body = (await response.json()) as { recoveryId: string; KE2: string; attemptsRemaining: number };
      open.push(body.recoveryId);
      assert.equal(Buffer.from(body.KE2, 'base64url').length, 259);
      left.push(body.attemptsRemaining);
    }
    assert.deepEqual(left, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    const next = async () => (await daemon.fetch('nobody', 'POST', '/v1/recovery/start', startBody())).status;
    assert.equal(await next(), 429);
    for (const id of open) await daemon.fetch('nobody', 'DELETE', `/v1/recovery/${id}`);
    assert.equal(await next(), 423);
  });

  it('evaluates one element to the same result each time, for an unknown account as for a known one', async () => {
    const body = startBody();
    const evaluate = async () => {
      const { KE2 } = (await (await daemon.fetch('nobody2', 'POST', '/v1/recovery/start', body)).json()) as {
        KE2: string;
      };
      return Buffer.from(KE2, 'base64url').subarray(0, 33).toString('hex');
    };
    assert.equal(await evaluate(), await evaluate());
  });

  it('says what is wrong with a request, and spends nothing for it', async () => {
    await daemon.client('carol').register('right', newBackupKey());
    const cases: [string | undefined, unknown, number, string][] = [
      [undefined, startBody(), 401, 'unauthorized'],
      ['carol', '{', 400, 'invalid-request'],
      ['carol', {}, 400, 'invalid-request'],
      ['carol', { KE1: 'AAAA' }, 400, 'invalid-request'],
      ['carol', { ...startBody(), more: 1 }, 400, 'invalid-request'],
      ['carol', { KE1: Buffer.alloc(98, 9).toString('base64url') }, 400, 'invalid-message'],
      ['carol', { KE1: 'A'.repeat(10_000) }, 413, 'too-large'],
    ];
    for (const [account, body, status, kind] of cases) {
      const response = await daemon.fetch(account, 'POST', '/v1/recovery/start', body);
      const problem = (await response.json()) as { type: string };
      assert.deepEqual([response.status, problem.type], [status, `urn:bkv:problem:${kind}`]);
      assert.match(response.headers.get('content-type') ?? '', /^application\/problem\+json/);
    }
    assert.deepEqual(await daemon.client('carol').status(), {
      state: 'registered',
      attemptsRemaining: 10,
      dealings: [],
    });
  });

  it('accepts a KE3 once and from its own account, and a wrong one never', async () => {
    const start = async (account: string) =>
      (await (await daemon.fetch(account, 'POST', '/v1/recovery/start', startBody())).json()) as {
        recoveryId: string;
      };
    const KE3 = Buffer.alloc(32).toString('base64url');
    const finish = (account: string, recoveryId: string, sent = KE3) =>
      daemon.fetch(account, 'POST', '/v1/recovery/finish', { recoveryId, KE3: sent });
    const { recoveryId } = await start('carol');
    assert.equal((await finish('mallory', recoveryId)).status, 404);
    const wrong = await finish('carol', recoveryId);
    assert.equal(wrong.status, 403);
    assert.equal(((await wrong.json()) as { attemptsRemaining: number }).attemptsRemaining, 9);
    const other = Buffer.alloc(32, 1).toString('base64url');
    assert.equal((await finish('carol', recoveryId, other)).status, 404);
    assert.equal((await finish('carol', recoveryId)).status, 403, 'the same again is answered the same');
    const { attemptsRemaining } = (await daemon.client('carol').status()) as { attemptsRemaining: number };
    assert.equal(attemptsRemaining, 9);
  });

  it('refuses a vault that is not the pinned one', async () => {
    const other = Buffer.from(daemon.serverPublicKey, 'base64url');
    other[0] = (other[0] as number) ^ 1;
    const stranger = daemon.client('dave', other.toString('base64url'));
    await assert.rejects(stranger.register('right', newBackupKey()), VaultIdentityMismatch);
  });

  it('describes itself, and serves metrics and health on the admin address only', async () => {
    const description = (await (await fetch(new URL('/openapi.json', daemon.url))).json()) as {
      openapi: string;
      paths: object;
    };
    assert.ok(Object.keys(description.paths).includes('/v1/recovery/start'));
    const metrics = await (await fetch(new URL('/metrics', daemon.admin))).text();
    assert.match(
      metrics,
      /bkv_token_operation_duration_seconds_count\{operation="multiply",mechanism="CKM_ECDH1_DERIVE",outcome="ok"\} \d+/,
    );
    assert.equal((await fetch(new URL('/readyz', daemon.admin))).status, 200);
    assert.equal((await fetch(new URL('/metrics', daemon.url))).status, 404);
  });

  it('gives no attempt back when killed and restarted, nor when an old database is put back', async () => {
    const erin = daemon.client('erin');
    const key = newBackupKey();
    await erin.register('right', key);
    await daemon.stop('SIGKILL');
    const old = join(data, 'old');
    for (const name of readdirSync(data).filter((name) => name.startsWith('records.sqlite')))
      cpSync(join(data, name), join(old, name));
    daemon = await Daemon.start(data, { config });
    for (let i = 0; i < 4; i++) await assert.rejects(daemon.client('erin').recover('wrong'), WrongPassword);
    await daemon.stop('SIGKILL');
    for (const name of readdirSync(data).filter((name) => name.startsWith('records.sqlite')))
      rmSync(join(data, name));
    for (const name of readdirSync(old)) cpSync(join(old, name), join(data, name));
    daemon = await Daemon.start(data, { config });
    assert.deepEqual(await daemon.client('erin').status(), {
      state: 'registered',
      attemptsRemaining: 6,
      dealings: [],
    });
    assert.deepEqual((await daemon.client('erin').recover('right')).backupKey, key);
  });

  it('refuses rows that were moved to another account or edited, and tells the operator', async () => {
    await daemon.client('frank').register('right', newBackupKey());
    await daemon.client('grace').register('right', newBackupKey());
    const [frank, grace] = [await daemon.nameOf('frank'), await daemon.nameOf('grace')];
    const db = openSqlite(join(data, 'records.sqlite'));
    db.prepare('DELETE FROM records WHERE account = ?').run(grace);
    db.prepare('UPDATE records SET account = ? WHERE account = ?').run(grace, frank);
    db.close();
    await assert.rejects(daemon.client('grace').recover('right'), WrongPassword);
    assert.deepEqual(await daemon.client('grace').status(), { state: 'unregistered' });
    assert.match(daemon.logs, /record refused/);
    const metrics = await (await fetch(new URL('/metrics', daemon.admin))).text();
    assert.match(metrics, /bkv_tampered_records_total [1-9]/);
  });

  it('refuses a row of an earlier registration that was put back', async () => {
    const heidi = daemon.client('heidi');
    await heidi.register('first', newBackupKey());
    const name = await daemon.nameOf('heidi');
    const db = openSqlite(join(data, 'records.sqlite'));
    const row = db.prepare('SELECT * FROM records WHERE account = ?').get(name) as Record<string, unknown>;
    await heidi.register('second', newBackupKey(), { replace: true });
    db.prepare('DELETE FROM records WHERE account = ?').run(row.account);
    db.prepare(
      `INSERT INTO records (${Object.keys(row).join()}) VALUES (${Object.keys(row)
        .map(() => '?')
        .join()})`,
    ).run(...Object.values(row));
    db.close();
    await assert.rejects(heidi.recover('first'), WrongPassword);
    assert.deepEqual(await heidi.status(), { state: 'unregistered' });
  });

  it('stops at SIGTERM with exit code 0, and its log holds no account and no token', async () => {
    assert.equal(await daemon.stop(), 0);
    assert.doesNotMatch(daemon.logs, /alice|carol|eyJ/);
    assert.ok(!daemon.logs.includes(readFileSync(join(data, 'token-pin'), 'utf8')));
    await assert.rejects(
      daemon.client('alice').status(),
      (error: VaultError) => error instanceof VaultError && error.status === 0,
    );
  });
});
