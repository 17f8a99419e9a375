import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from '../../rig/daemon.js';
import {
  FleetClient,
  KeyExists,
  Locked,
  newBackupKey,
  VaultClient,
  WrongPassword,
} from '../../src/client/index.js';
import { embeddedJwt } from '../../src/daemon/index.js';
import { createRecord, deriveKeyPair, identities } from '../../src/protocol/index.js';
import { type ShareToSend, shareFinish } from '../support/fleet.js';
import { stretch } from './stretch.js';

type Json = Record<string, unknown>;
interface Asked {
  readonly method: string;
  readonly path: string;
  readonly body: Json;
  readonly authorization: string;
  /** gets the vault's own answer */
  readonly pass: () => Promise<Response>;
}
/** Answers a request in the place of a member or of the network. */
type Meddle = (asked: Asked) => Promise<Response> | Response;

const MAX = 3;
const bytes = (encoded: unknown): Uint8Array => Buffer.from(String(encoded), 'base64url');
const text = (data: Uint8Array): string => Buffer.from(data).toString('base64url');
const answer = (status: number, json: Json): Response =>
  new Response(JSON.stringify(json), { status, headers: { 'content-type': 'application/json' } });
const lose = (): never => {
  throw new TypeError('the request was lost');
};
const isAt = ({ method, path }: Asked, wanted: string): boolean => `${method} ${path}` === wanted;
const LOOK = 'GET /v1/account';
const START = 'POST /v1/recovery/start';

/** Attacks on a fleet of two of three vaults. Each succeeded against the first edition, at commit 08b75f0. */
describe('attacks by a member of a fleet, or by the network', function () {
  this.timeout(120_000);
  const work = mkdtempSync(join(tmpdir(), 'bkv-attacks-'));
  const daemons: Daemon[] = [];
  const meddlers = new Map<string, Meddle>();
  const { fetch } = globalThis;
  before(async () => {
    const limits = `maxAttempts: ${MAX}\nrateLimit: { account: 10000, address: 100000 }\n`;
    for (const name of ['a', 'b', 'c']) {
      mkdirSync(join(work, name));
      const auth = name === 'a' ? '' : `auth: { jwks: ${work}/a/issuer.jwks.json, issuer: bkv-embedded }\n`;
      daemons.push(await Daemon.start(join(work, name), { config: limits + auth }));
    }
    globalThis.fetch = (input, init) => {
      const { origin, pathname: path } = new URL(String(input));
      const meddle = meddlers.get(origin);
      const pass = () => fetch(input, init);
      if (!meddle) return pass();
      const method = init?.method ?? 'GET';
      const body = init?.body ? JSON.parse(init.body as string) : {};
      const authorization = (init?.headers as Record<string, string>)?.authorization ?? '';
      return Promise.resolve().then(() => meddle({ method, path, body, authorization, pass }));
    };
  });
  after(async () => {
    globalThis.fetch = fetch;
    await Promise.all(daemons.map((daemon) => daemon.stop()));
    rmSync(work, { recursive: true, force: true });
  });
  beforeEach(() => meddlers.clear());

  const tokenFor = (account: string, identity: string) =>
    embeddedJwt(join(work, 'a'), account, 3600, identity);
  const clientOf = (account: string) =>
    new FleetClient({
      vaults: daemons.map((daemon) => daemon.fleetEntry()),
      threshold: 2,
      account,
      accessToken: ({ identity }) => tokenFor(account, identity),
      hedge: 2000,
      stretch,
    });
  const [LIAR, HONEST] = [2, [0, 1]] as const;
  const meddle = (i: number, what: Meddle) => meddlers.set((daemons[i] as Daemon).url, what);
  const statusOf = async (i: number, account: string) => {
    const { url, serverPublicKey } = daemons[i] as Daemon;
    const authorization = `Bearer ${await tokenFor(account, serverPublicKey)}`;
    return (await (await fetch(`${url}/v1/account`, { headers: { authorization } })).json()) as Json;
  };
  const post = async (i: number, account: string, path: string, body: Json) => {
    const { url, serverPublicKey } = daemons[i] as Daemon;
    const headers = {
      authorization: `Bearer ${await tokenFor(account, serverPublicKey)}`,
      'content-type': 'application/json',
    };
    return fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) });
  };

  it('a registration does not end a key that one vault holds by itself, unless told', async () => {
    const [first] = daemons as [Daemon];
    const alone = new VaultClient({
      url: first.url,
      serverPublicKey: Buffer.from(first.serverPublicKey, 'base64url'),
      account: 'alone',
      accessToken: () => tokenFor('alone', first.serverPublicKey),
      stretch,
    });
    const key = newBackupKey();
    await alone.register('of one vault', key);
    const fleet = clientOf('alone');
    assert.deepEqual(await fleet.status(), { state: 'unregistered', others: [first.url], rest: [] });
    await assert.rejects(fleet.register('of the fleet', newBackupKey()), KeyExists);
    await fleet.settled();
    assert.deepEqual((await alone.recover('of one vault')).backupKey, key);
    const other = newBackupKey();
    await fleet.register('of the fleet', other, { replace: true });
    assert.deepEqual((await fleet.recover('of the fleet')).backupKey, other);
    assert.deepEqual((await fleet.status()).others, []);
  });

  it('A2: a recorded registration of a share works neither for another account nor a second time', async () => {
    const recorded = new Map<number, Asked[]>();
    for (const i of [0, 1, 2])
      meddle(i, (asked) => {
        recorded.set(i, [...(recorded.get(i) ?? []), asked]);
        return asked.pass();
      });
    await clientOf('recorded').register('right', newBackupKey());
    meddlers.clear();
    for (let guess = 0; guess < MAX; guess++)
      await assert.rejects(clientOf('recorded').recover('wrong'), WrongPassword);
    await assert.rejects(clientOf('recorded').recover('right'), Locked);
    for (const [i, all] of recorded) {
      const sent = all.filter(({ path }) => path.startsWith('/v1/share/') && !path.endsWith('/commit'));
      assert.deepEqual(
        sent.map(({ path }) => path),
        ['/v1/share/start', '/v1/share/finish'],
      );
      for (const account of ['recorded', 'another'])
        for (const { path, body } of sent) await post(i, account, path, body);
      assert.equal((await statusOf(i, 'recorded')).state, 'locked');
      assert.equal((await statusOf(i, 'another')).state, 'unregistered');
    }
    await assert.rejects(clientOf('recorded').recover('right'), Locked);
  });

  const bad: Record<string, Partial<ShareToSend>> = {
    'random bytes in the place of the share': { wrapped: new Uint8Array(80).fill(3) },
    'the share of another public key': { publicKey: deriveKeyPair(new Uint8Array(32).fill(9)).publicKey },
  };
  for (const [what, instead] of Object.entries(bad))
    it(`a badly made share is a 400 for its client, and no failure of the vault: ${what}`, async () => {
      const daemon = daemons[0] as Daemon;
      const account = 'clumsy';
      const server = bytes(daemon.serverPublicKey);
      const { registrationRecord } = createRecord(new Uint8Array(32), server, identities(account, server));
      const { secretKey, publicKey } = deriveKeyPair(crypto.getRandomValues(new Uint8Array(32)));
      const dealing = '00000001f1ee7000'.padEnd(32, '0');
      const started = (await (
        await post(0, account, '/v1/share/start', { dealing, index: 1, keyshare: text(publicKey) })
      ).json()) as Json;
      const message = shareFinish(
        secretKey,
        server,
        { transportKey: bytes(started.transportKey), mac: bytes(started.mac) },
        { scalar: secretKey, registrationRecord, encryptedBackupKey: new Uint8Array(60), ...instead },
      );
      const texts = Object.entries(message).map(([name, value]) => [name, text(value)]);
      const { registrationId } = started;
      const finished = await post(0, account, '/v1/share/finish', {
        registrationId,
        ...Object.fromEntries(texts),
      });
      assert.deepEqual(
        [finished.status, ((await finished.json()) as Json).type],
        [400, 'urn:bkv:problem:invalid-message'],
      );
      assert.ok(!daemon.logs.includes('vault failure'), daemon.logs);
      const metrics = await (await fetch(new URL('/metrics', daemon.admin))).text();
      assert.match(metrics, /^bkv_token_operation_duration_seconds_count\{.*importShare/m);
      assert.doesNotMatch(metrics, /importShare.*outcome="error"|outcome="error".*importShare/);
      assert.ok(await daemon.ready());
    });

  describe('A4: answers to a login that do not parse', () => {
    const KE2s: Record<string, (KE2: Buffer) => Buffer | string | undefined> = {
      'too short': (KE2) => KE2.subarray(1),
      'no point': (KE2) => Buffer.concat([Buffer.alloc(33, 7), KE2.subarray(33)]),
      'no text': () => undefined,
    };
    for (const [what, change] of Object.entries(KE2s))
      it(`spend no attempt at honest vaults, however often: ${what}`, async () => {
        const account = `a4 ${what}`;
        const key = newBackupKey();
        await clientOf(account).register('right', key);
        meddle(0, async (asked) => {
          const told = (await (
            await asked.pass()
          )
            .clone()
            .json()
            .catch(() => ({}))) as Json;
          if (!isAt(asked, START)) return answer(200, told);
          const KE2 = change(Buffer.from(String(told.KE2), 'base64url'));
          return answer(200, { ...told, KE2: Buffer.isBuffer(KE2) ? KE2.toString('base64url') : KE2 });
        });
        for (let i = 0; i <= MAX; i++) {
          const client = clientOf(account);
          const { backupKey, liars } = await client.recover('right');
          await client.settled();
          assert.deepEqual([backupKey, liars], [key, [(daemons[0] as Daemon).url]]);
        }
        for (const i of [1, 2]) assert.equal((await statusOf(i, account)).attemptsRemaining, MAX);
      });
  });

  it('A5: the access token for one member is refused by all others', async () => {
    const account = 'a5';
    const stolen = new Set<string>();
    const key = newBackupKey();
    meddle(LIAR, (asked) => {
      if (asked.authorization) stolen.add(asked.authorization);
      return asked.pass();
    });
    const client = clientOf(account);
    await client.register('right', key);
    await client.recover('right');
    await client.status();
    assert.ok(stolen.size > 0);
    for (const i of HONEST)
      for (const authorization of stolen)
        for (const [method, path] of [
          ['DELETE', '/v1/account'],
          ['GET', '/v1/account'],
        ])
          assert.equal(
            (
              await fetch((daemons[i] as Daemon).url + path, {
                method: method as string,
                headers: { authorization },
              })
            ).status,
            401,
          );
    assert.deepEqual((await client.recover('right')).backupKey, key);
  });

  it('A7: if the commits of a password change are dropped, it is pending, and the next contact ends the old password', async () => {
    const account = 'a7';
    const key = newBackupKey();
    const client = clientOf(account);
    await client.register('old', key);
    for (const i of [0, 1, 2])
      meddle(i, (asked) => (asked.path === '/v1/share/commit' ? lose() : asked.pass()));
    const { pending } = await client.changePassword('old', 'new');
    assert.deepEqual([...pending].sort(), daemons.map(({ url }) => url).sort());
    meddlers.clear();
    const again = await clientOf(account).recover('new');
    assert.deepEqual([again.backupKey, again.pending], [key, []]);
    await assert.rejects(clientOf(account).recover('old'), WrongPassword);
  });

  it('A8: a liar and a lost request during a repair lose nothing of the account', async () => {
    const account = 'a8';
    const key = newBackupKey();
    await clientOf(account).register('right', key);
    meddle(LIAR, (asked) => (isAt(asked, LOOK) ? answer(200, { state: 'unregistered' }) : asked.pass()));
    meddle(1, (asked) => (asked.path === '/v1/share/finish' ? lose() : asked.pass()));
    assert.deepEqual((await clientOf(account).recover('right')).backupKey, key);
    // The liar got a share of the fresh key, and answers nothing any more.
    meddlers.clear();
    meddle(LIAR, lose);
    assert.deepEqual((await clientOf(account).recover('right')).backupKey, key);
  });

  describe('A9: what a member claims about its dealings', () => {
    const first = (told: Json) => (told.dealings as Json[])[0] as Json;
    const claims: Record<string, (told: Json) => unknown> = {
      'one of them twice': (told) => [first(told), first(told)],
      'a newer one twice': (told) => {
        const made = { ...first(told), dealing: `0000000f${String(first(told).dealing).slice(8)}` };
        return [made, made];
      },
      'the largest name there is': (told) => [{ ...first(told), dealing: 'f'.repeat(32) }],
      'one of each count': (told) =>
        [0, 1, 2].map((i) => ({
          ...first(told),
          dealing: `fffffff${i}${String(first(told).dealing).slice(8)}`,
        })),
      'a word': (told) => [{ ...first(told), dealing: 'password' }],
      'no list': () => 'none',
      'a list of nothing': () => [null],
    };
    for (const [what, claim] of Object.entries(claims))
      it(`blocks nobody: ${what}`, async () => {
        const account = `a9 ${what}`;
        const key = newBackupKey();
        await clientOf(account).register('old', key);
        meddle(LIAR, async (asked) => {
          const response = await asked.pass();
          if (!isAt(asked, LOOK)) return response;
          const told = (await response.json()) as Json;
          return answer(200, { ...told, dealings: claim(told) });
        });
        assert.deepEqual((await clientOf(account).recover('old')).backupKey, key);
        await clientOf(account).changePassword('old', 'new');
        assert.deepEqual((await clientOf(account).recover('new')).backupKey, key);
        await assert.rejects(clientOf(account).recover('old'));
      });
  });
});
