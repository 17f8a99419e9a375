import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { client as plain, ready } from '@serenity-kit/opaque-p256';
import { Daemon, type HttpFailure } from '../rig/daemon.js';
import { cheapStretch } from '../rig/stretching.js';
import { discardData } from '../rig/token.js';
import {
  AccessTokenForAnother,
  type BkvError,
  KeyExists,
  newBackupKey,
  VaultClient,
  VaultError,
  VaultIdentityMismatch,
  WrongPassword,
} from '../src/client/index.js';
import { embeddedJwt } from '../src/daemon/index.js';
import { deriveKeyPair, evaluate } from '../src/protocol/index.js';
import { Relay } from './support/relay.js';

type Json = Record<string, unknown>;
const bytes = (text: unknown): Uint8Array => new Uint8Array(Buffer.from(String(text), 'base64url'));
const text = (data: Uint8Array): string => Buffer.from(data).toString('base64url');
const flipped = (value: unknown): string => {
  const data = bytes(value);
  data[data.length - 1] = (data[data.length - 1] as number) ^ 1;
  return text(data);
};

describe('wire protocol 2', function () {
  this.timeout(120_000);
  const data = mkdtempSync(join(tmpdir(), 'bkv-wire-'));
  let daemon: Daemon;
  let relay: Relay;
  let mallory: { account: string; password: string };
  before(async () => {
    daemon = await Daemon.start(data, { config: 'rateLimit: { account: 1000, address: 10000 }\n' });
    mallory = { account: 'mallory', password: 'of an attacker' };
  });
  after(async () => {
    await daemon.stop();
    discardData(data);
  });
  beforeEach(async () => {
    relay = await Relay.open(daemon.url);
  });
  afterEach(() => relay.close());

  const through = (account: string, options: object = {}) =>
    new VaultClient({
      stretch: cheapStretch,
      url: relay.url,
      serverPublicKey: bytes(daemon.serverPublicKey),
      account,
      accessToken: () => daemon.jwt(account),
      ...options,
    });
  const atPath = (wanted: string, change: (body: Json) => Json) => (path: string, body: Json) =>
    path === wanted ? change(body) : body;
  const START = '/v1/registration/start';
  const FINISH = '/v1/registration/finish';
  const finishes = () => relay.seen.filter(({ path }) => path === FINISH);

  describe('whoever is below TLS', () => {
    it('learns nothing of a password by using their own OPRF key (A6)', async () => {
      const { secretKey } = deriveKeyPair(new Uint8Array(32).fill(7));
      let blinded = new Uint8Array();
      relay.onRequest = atPath(START, (body) => {
        blinded = bytes(body.registrationRequest) as Uint8Array<ArrayBuffer>;
        return body;
      });
      relay.onAnswer = atPath(START, (answer) => ({
        ...answer,
        registrationResponse: text(
          Buffer.concat([evaluate(secretKey, blinded), bytes(daemon.serverPublicKey)]),
        ),
      }));
      await assert.rejects(through('alice').register('right', newBackupKey()), VaultIdentityMismatch);
      assert.deepEqual(finishes(), [], 'no record was sent that could be tried offline');
    });

    const answers: Record<string, (answer: Json) => Json> = {
      'the limit': (answer) => ({ ...answer, limit: 200 }),
      'the MAC': (answer) => ({ ...answer, mac: flipped(answer.mac) }),
      'the MAC, left out': ({ mac: _, ...answer }) => answer,
      'the exchange': (answer) => ({ ...answer, registrationId: flipped(answer.registrationId) }),
    };
    for (const [what, change] of Object.entries(answers)) {
      it(`cannot alter the vault’s answer: ${what}`, async () => {
        relay.onAnswer = atPath(START, change);
        await assert.rejects(through('alice').register('right', newBackupKey()), VaultIdentityMismatch);
        assert.deepEqual(finishes(), []);
      });
    }

    it('cannot make a registration a plain one, or put in their own key share', async () => {
      for (const change of [
        ({ keyshare: _, ...body }: Json) => body,
        (body: Json) => ({ ...body, keyshare: text(deriveKeyPair(new Uint8Array(32).fill(1)).publicKey) }),
        (body: Json) => ({ ...body, registrationRequest: text(deriveKeyPair(new Uint8Array(32)).publicKey) }),
      ]) {
        relay.onRequest = atPath(START, change);
        await assert.rejects(through('alice').register('right', newBackupKey()), (error: Error) => {
          assert.ok(error instanceof VaultIdentityMismatch || error instanceof VaultError, error.stack);
          return true;
        });
        assert.deepEqual(finishes(), []);
      }
    });

    it('cannot have the start answered for another account', async () => {
      relay.onRequest = (_path, body) => body;
      const client = through('alice', { accessToken: () => daemon.jwt('mallory') });
      await assert.rejects(client.register('right', newBackupKey()), VaultIdentityMismatch);
      assert.deepEqual(finishes(), []);
    });

    it('cannot swap the record or the sealed key, nor leave out the MAC; the old registration stays', async () => {
      const key = newBackupKey();
      await daemon.client('bob').register('right', key);
      let theirs: Json = {};
      relay.onRequest = atPath(FINISH, (body) => {
        theirs = body;
        return body;
      });
      await through(mallory.account).register(mallory.password, newBackupKey());
      for (const change of [
        (body: Json) => ({ ...body, registrationRecord: theirs.registrationRecord }),
        (body: Json) => ({ ...body, encryptedBackupKey: theirs.encryptedBackupKey }),
        (body: Json) => ({ ...theirs, registrationId: body.registrationId }),
        ({ mac: _, ...body }: Json) => body,
        ({ replace: _, ...body }: Json) => body,
        (body: Json) => ({ ...body, replace: false }),
      ]) {
        relay.onRequest = atPath(FINISH, change);
        await assert.rejects(
          through('bob').register('new', newBackupKey(), { replace: true }),
          (error) => error instanceof VaultError && error.status === 400,
        );
        assert.deepEqual((await daemon.client('bob').recover('right')).backupKey, key);
      }
    });

    it('cannot send a recorded start again, nor a recorded finish for another account (A2)', async () => {
      await through('carol').register('right', newBackupKey());
      const of = (path: string) => relay.seen.find((one) => one.path === path)?.body as Json;
      const post = async (account: string, path: string) =>
        daemon.post(await daemon.jwt(account), path, of(path));
      await assert.rejects(post('carol', START), (error: HttpFailure) => error.status === 400);
      await assert.rejects(post('dave', FINISH), (error: HttpFailure) => error.status === 404);
    });

    it('sees no access token if they pose as another vault', async () => {
      relay.onAnswer = atPath('/v1/identity', (answer) => ({
        ...answer,
        serverPublicKey: text(deriveKeyPair(new Uint8Array(32)).publicKey),
      }));
      await assert.rejects(through('alice').status(), VaultIdentityMismatch);
      assert.ok(relay.seen.every(({ authorization }) => authorization === undefined));
    });
  });

  it('a finish whose answer was lost is sent again, and answered the same', async () => {
    const key = newBackupKey();
    relay.lost.push(FINISH, FINISH);
    await through('erin').register('right', key);
    assert.equal(finishes().length, 3);
    assert.deepEqual((await daemon.client('erin').recover('right')).backupKey, key);
    const again = finishes()[0]?.body as Json;
    await daemon.post(await daemon.jwt('erin'), FINISH, again);
    await assert.rejects(
      daemon.post(await daemon.jwt('erin'), FINISH, { ...again, mac: flipped(again.mac) }),
      (error: HttpFailure) => error.status === 404,
    );
  });

  it('of two devices that register at the same moment, one succeeds and the other is told', async () => {
    const names = ['first', 'second'];
    let meet: () => void = () => undefined;
    const met = new Promise<void>((resolve) => {
      meet = resolve;
    });
    let arrived = 0;
    relay.onRequest = async (path, body) => {
      if (path !== FINISH) return body;
      if (++arrived === names.length) meet();
      await met;
      return body;
    };
    const keys = names.map(() => newBackupKey());
    const done = await Promise.allSettled(
      names.map((name, i) => through('heidi').register(name, keys[i] as Uint8Array)),
    );
    const won = done.findIndex(({ status }) => status === 'fulfilled');
    const [lost] = done.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    assert.ok(won >= 0 && lost instanceof KeyExists, String(lost));
    assert.deepEqual((await daemon.client('heidi').recover(names[won] as string)).backupKey, keys[won]);
    // The refused finish is answered the same when it is sent again.
    for (const { body } of finishes()) {
      const again = daemon.post(await daemon.jwt('heidi'), FINISH, body);
      await again.catch((error: HttpFailure) => assert.equal(error.status, 409));
    }
    assert.deepEqual((await daemon.client('heidi').recover(names[won] as string)).backupKey, keys[won]);
  });

  it('replaces a key for a client that asks for it, and not if a message was altered to ask for it', async () => {
    const key = newBackupKey();
    await daemon.client('ivan').register('right', key);
    relay.onAnswer = (path, answer) => (path === '/v1/account' ? { state: 'unregistered' } : answer);
    await assert.rejects(through('ivan').register('new', newBackupKey()), KeyExists);
    relay.onRequest = atPath(FINISH, (body) => ({ ...body, replace: true }));
    await assert.rejects(
      through('ivan').register('new', newBackupKey()),
      (error) => error instanceof VaultError && error.status === 400,
    );
    assert.deepEqual((await daemon.client('ivan').recover('right')).backupKey, key);
    relay.onRequest = (_path, body) => body;
    const other = newBackupKey();
    await through('ivan').register('new', other, { replace: true });
    assert.deepEqual((await daemon.client('ivan').recover('new')).backupKey, other);
  });

  it('ends a registration with a login, and says if the login does not open', async () => {
    relay.onAnswer = atPath('/v1/recovery/finish', (answer) => ({
      ...answer,
      encryptedBackupKey: flipped(answer.encryptedBackupKey),
    }));
    await assert.rejects(
      through('frank').register('right', newBackupKey()),
      (error: BkvError) => error.code === 'RegistrationUnproven',
    );
  });

  it('opens only for the account that registered (A13)', async () => {
    await daemon.client('grace').register('right', newBackupKey());
    const renamed = new VaultClient({
      url: daemon.url,
      serverPublicKey: bytes(daemon.serverPublicKey),
      account: 'grace-2',
      accessToken: () => daemon.jwt('grace'),
    });
    await assert.rejects(renamed.recover('right'), WrongPassword);
  });

  it('accepts only access tokens for its own vault (A5)', async () => {
    const other = text(deriveKeyPair(new Uint8Array(32).fill(9)).publicKey);
    const foreign = await embeddedJwt(data, 'alice', 60, other);
    const answer = await fetch(new URL('/v1/account', daemon.url), {
      headers: { authorization: `Bearer ${foreign}` },
    });
    assert.equal(answer.status, 401);
    await assert.rejects(through('alice', { accessToken: () => foreign }).status(), AccessTokenForAnother);
    assert.ok(relay.seen.every(({ authorization }) => authorization === undefined));
  });

  it('uses plain HTTP only to this device, unless told otherwise', () => {
    const client = (url: string, more: object = {}) =>
      new VaultClient({
        url,
        serverPublicKey: new Uint8Array(33).fill(2),
        account: 'a',
        accessToken: () => '',
        ...more,
      });
    for (const url of ['http://vault.example', 'http://10.0.0.1:8200', 'http://127.0.0.1.example'])
      assert.throws(
        () => client(url),
        (error: BkvError) => error.code === 'PlainHttp',
      );
    client('http://vault.example', { allowPlainHttp: true });
    for (const url of ['https://vault.example', 'http://127.0.0.1:1', 'http://[::1]:1', 'http://localhost'])
      client(url);
  });

  describe('an unmodified client of RFC 9807 (@serenity-kit/opaque-p256)', () => {
    const password = 'correct horse battery staple';
    const post = async (path: string, body: object) => daemon.post(await daemon.jwt('plain'), path, body);
    const login = async (tried: string) => {
      const { clientLoginState, startLoginRequest } = plain.startLogin({ password: tried });
      const started = await post('/v1/recovery/start', { KE1: startLoginRequest });
      const finished = plain.finishLogin({
        clientLoginState,
        loginResponse: started.KE2 as string,
        password: tried,
      });
      return { started, finished };
    };

    it('registers, recovers, and has wrong passwords counted', async () => {
      await ready;
      const { clientRegistrationState, registrationRequest } = plain.startRegistration({ password });
      const started = await post(START, { registrationRequest });
      assert.equal(started.mac, undefined);
      const { registrationRecord, exportKey, serverStaticPublicKey } = plain.finishRegistration({
        clientRegistrationState,
        registrationResponse: started.registrationResponse as string,
        password,
      });
      assert.equal(serverStaticPublicKey, daemon.serverPublicKey);
      const encryptedBackupKey = text(Buffer.from('sealed by the app'));
      const { registrationId } = started;
      const finish = { registrationId, registrationRecord, encryptedBackupKey };
      await post(FINISH, finish);
      await post(FINISH, finish);
      const { registrationId: later } = await post(START, { registrationRequest });
      const second = { ...finish, registrationId: later };
      await assert.rejects(post(FINISH, second), (error: HttpFailure) => error.status === 409);

      assert.equal((await login('wrong')).finished, undefined);
      assert.equal((await daemon.status('plain')).attemptsRemaining, 9);
      const { started: answer, finished } = await login(password);
      assert.equal(finished?.exportKey, exportKey);
      const proven = await post('/v1/recovery/finish', {
        recoveryId: answer.recoveryId,
        KE3: finished?.finishLoginRequest,
      });
      assert.equal(proven.encryptedBackupKey, encryptedBackupKey);
      assert.equal((await daemon.status('plain')).attemptsRemaining, 10);

      const { registrationId: last } = await post(START, { registrationRequest });
      await post(FINISH, { ...finish, registrationId: last, replace: true });
      assert.equal((await login(password)).finished, undefined, 'the key is another');
    });
  });
});
