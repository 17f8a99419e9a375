import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync } from 'node:fs';
import { get, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { p256 } from '@noble/curves/nist.js';
import fc from 'fast-check';
import { SignJWT, UnsecuredJWT } from 'jose';
import type { z } from 'zod';
import { Daemon } from '../rig/daemon.js';
import { seed } from '../rig/random.js';
import { discardData } from '../rig/token.js';
import { endpoints } from '../src/http/routes.js';
import { audienceOf } from '../src/protocol/index.js';

/** Number of cases. A long run sets BKV_FUZZ_CASES to a million. */
const cases = Number(process.env.BKV_FUZZ_CASES ?? 3000);

/** Clients that never end their request. */
const SLOW = 300;

const ROUTES: [string, string, string[]][] = [
  ...endpoints.map(({ method, path, body }): [string, string, string[]] => [
    method.toUpperCase(),
    path.replace(':recoveryId', 'A'.repeat(22)),
    Object.keys((body as z.ZodObject | undefined)?.shape ?? {}),
  ]),
  ['PATCH', '/v1/../v1//account', []],
];

describe(`hostile HTTP (BKV_SEED=${seed}, ${cases} cases)`, function () {
  this.timeout(Math.max(120_000, cases * 20));
  let daemon: Daemon;
  let data: string;
  let jwt: string;
  const slow = { sockets: [] as Socket[], closed: 0, drip: undefined as NodeJS.Timeout | undefined };
  before(async () => {
    data = mkdtempSync(join(tmpdir(), 'bkv-hostile-'));
    daemon = await Daemon.start(data, {
      config: 'rateLimit: { account: 100000000, address: 100000000 }\n',
    });
    jwt = await daemon.jwt('mallory');
    await daemon.register('alice', 'right');
  });
  after(async () => {
    clearInterval(slow.drip);
    for (const socket of slow.sockets) socket.destroy();
    assert.equal(await daemon?.stop(), 0);
    discardData(data);
  });

  const send = (
    method: string,
    path: string,
    body: string,
    headers: Record<string, string> = {},
  ): Promise<number> =>
    new Promise((resolve, reject) => {
      const all = {
        authorization: `Bearer ${jwt}`,
        'content-type': 'application/json',
        'content-length': String(Buffer.byteLength(body)),
        ...headers,
      };
      request(new URL(daemon.url), { method, path, headers: all }, (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode ?? 0));
      })
        .on('error', reject)
        .end(body);
    });
  const memory = (): number => daemon.memory();
  const serves = async () => {
    await (await daemon.startRecovery('alice', 'right')).prove();
  };

  /** Bytes like those of an element: of right and wrong lengths, off the curve, zero, with other prefixes. */
  const bytes = fc.oneof(
    fc
      .constantFrom(0, 1, 16, 32, 33, 65, 80, 98, 129, 384)
      .chain((n) => fc.uint8Array({ minLength: n, maxLength: n })),
    fc.uint8Array({ minLength: 32, maxLength: 32 }).map((x) => Uint8Array.of(2, ...x)),
    fc.constantFrom(
      new Uint8Array(33),
      new Uint8Array(33).fill(255),
      new Uint8Array(98),
      new Uint8Array(129),
    ),
  );
  const text = bytes.map((one) => Buffer.from(one).toString('base64url'));
  const value = fc.oneof(
    { weight: 6, arbitrary: text },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 300 }) },
    { weight: 1, arbitrary: fc.jsonValue() },
    { weight: 1, arbitrary: fc.constantFrom('0'.repeat(32), 'f'.repeat(32), '__proto__', 'A'.repeat(6000)) },
  );
  const message = fc
    .tuple(fc.constantFrom(...ROUTES), fc.array(value, { minLength: 6, maxLength: 6 }), fc.nat(5))
    .map(([[method, path, fields], values, change]) => {
      const entries = fields.map((field, i) => `${JSON.stringify(field)}:${JSON.stringify(values[i])}`);
      if (change === 1 && entries[0]) entries.push(entries[0].replace(/:.*/, ':"other"'));
      if (change === 2) entries.push('"__proto__":{"account":"alice"}');
      if (change === 3) entries.pop();
      const body = method === 'GET' ? '' : `{${entries.join(',')}}`;
      return { method, path, body: change === 4 ? body.slice(0, -1) : body };
    });

  // These clients stay connected during the next tests.
  it('serves others while hundreds of slow clients send a byte now and then', async () => {
    const { hostname, port } = new URL(daemon.url);
    for (let i = 0; i < SLOW; i++) {
      const socket = connect(Number(port), hostname);
      socket.on('error', () => undefined).on('close', () => slow.closed++);
      socket.write(
        i % 2
          ? 'POST /v1/recovery/start HTTP/1.1\r\nHost: x\r\n'
          : `POST /v1/account HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${jwt}\r\nContent-Length: 4000\r\n\r\n{`,
      );
      slow.sockets.push(socket);
    }
    slow.drip = setInterval(() => {
      for (const socket of slow.sockets) if (!socket.destroyed) socket.write('X');
    }, 500);
    const begun = performance.now();
    await serves();
    assert.ok(performance.now() - begun < 5000);
    assert.equal(slow.closed, 0);
  });

  it('answers every message with success or a problem, never with an internal error', async () => {
    const before = memory();
    const seen = new Map<number, number>();
    await fc.assert(
      fc.asyncProperty(message, async ({ method, path, body }) => {
        const status = await send(method, path, body);
        seen.set(status, (seen.get(status) ?? 0) + 1);
        assert.ok(status >= 200 && status < 500, `${status} for ${method} ${path} ${body}`);
      }),
      { seed, numRuns: cases, endOnFailure: true },
    );
    assert.ok((seen.get(200) ?? 0) > 0 && (seen.get(400) ?? 0) > cases / 4, JSON.stringify([...seen]));
    assert.ok(memory() - before < 150e6, `${(memory() - before) / 1e6} MB more`);
    await serves();
  });

  it('refuses bodies that are too large, of another kind, compressed, or announced and never sent', async () => {
    const start = '/v1/recovery/start';
    assert.equal(await send('POST', start, 'A'.repeat(5000)), 413);
    assert.equal(await send('POST', start, '[]'), 400);
    assert.equal(
      await send('POST', start, 'KE1=x', { 'content-type': 'application/x-www-form-urlencoded' }),
      400,
    );
    assert.equal(await send('POST', start, 'x', { 'content-encoding': 'gzip' }), 400);
    assert.equal(
      await send('POST', start, '{}', { 'content-type': 'application/json; charset=klingon' }),
      415,
    );
    await serves();
  });

  it('takes no JWT that is expired, too early, unsigned, of another issuer, audience or key', async () => {
    const { privateKey: stranger } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const own = (await import('node:crypto')).createPrivateKey(readFileSync(join(data, 'issuer.key.pem')));
    const now = Math.floor(Date.now() / 1000);
    const signed = (claims: object, key = own, alg = 'RS256') =>
      new SignJWT({
        sub: 'alice',
        iss: 'bkv-embedded',
        aud: audienceOf(daemon.serverPublicKey),
        exp: now + 60,
        ...claims,
      })
        .setProtectedHeader({ alg })
        .sign(key);
    assert.equal(await send('GET', '/v1/account', '', { authorization: `Bearer ${await signed({})}` }), 200);
    const publicPem = readFileSync(join(data, 'issuer.jwks.json'));
    const confused = await new SignJWT({
      sub: 'alice',
      iss: 'bkv-embedded',
      aud: audienceOf(daemon.serverPublicKey),
      exp: now + 60,
    })
      .setProtectedHeader({ alg: 'HS256' })
      .sign(publicPem);
    for (const [what, token] of Object.entries({
      expired: await signed({ exp: now - 120 }),
      'too early': await signed({ nbf: now + 600 }),
      'another issuer': await signed({ iss: 'else' }),
      'another audience': await signed({ aud: 'else' }),
      'no account': await signed({ sub: undefined }),
      'another key': await signed({}, stranger),
      'the public key as a secret': confused,
      unsigned: new UnsecuredJWT({ sub: 'alice' })
        .setIssuer('bkv-embedded')
        .setAudience(audienceOf(daemon.serverPublicKey))
        .encode(),
      'not a JWT': 'x.y.z',
      'with a byte more': `${await signed({})}A`,
    }))
      assert.equal(await send('GET', '/v1/account', '', { authorization: `Bearer ${token}` }), 401, what);
  });

  it('takes a proof once, for its own exchange and its own account only', async () => {
    const prepared = async (account: string) => {
      const token = await daemon.jwt(account);
      const started = await (await daemon.prepareRecovery(account, 'right'))();
      return { token, recoveryId: started.recoveryId, prove: await started.prepareProof() };
    };
    await daemon.register('bob', 'right');
    const [one, two, bobs] = [await prepared('alice'), await prepared('alice'), await prepared('bob')];
    const finish = (token: string, recoveryId: string, KE3: string) =>
      send('POST', '/v1/recovery/finish', JSON.stringify({ recoveryId, KE3 }), {
        authorization: `Bearer ${token}`,
      });
    const anyKE3 = Buffer.alloc(32, 7).toString('base64url');
    assert.equal(await finish(bobs.token, one.recoveryId, anyKE3), 404, "another's exchange");
    assert.equal(await finish(two.token, two.recoveryId, anyKE3), 403);
    assert.equal(await finish(two.token, two.recoveryId, anyKE3), 403, 'the same again, answered the same');
    const another = Buffer.alloc(32, 8).toString('base64url');
    assert.equal(await finish(two.token, two.recoveryId, another), 404, 'a second try of one exchange');
    await one.prove();
    await one.prove();
    await bobs.prove();
  });

  it('refuses too many requests at once with 503 and nothing else, and serves again right afterwards', async () => {
    const registrationRequest = Buffer.from(p256.Point.BASE.toBytes(true)).toString('base64url');
    const body = JSON.stringify({ registrationRequest });
    const statuses = await Promise.all(
      Array.from({ length: 2500 }, () => send('POST', '/v1/registration/start', body)),
    );
    const count = (status: number) => statuses.filter((one) => one === status).length;
    assert.equal(count(200) + count(503), 2500, [...new Set(statuses)].join());
    assert.ok(count(200) >= 1024 && count(503) > 0, `${count(200)} answered, ${count(503)} turned away`);
    await serves();
  });

  it('ends the slow clients', async () => {
    for (let i = 0; i < 300 && slow.closed < SLOW; i++) await setTimeout(100);
    assert.equal(slow.closed, SLOW);
  });
});

describe('the limit of an address', () => {
  const start = async (config: string, limit = 5) => {
    const data = mkdtempSync(join(tmpdir(), 'bkv-limit-'));
    const daemon = await Daemon.start(data, {
      config: `rateLimit: { account: 1000, address: ${limit} }\n${config}`,
    });
    const statuses = async (forwardedFor: (i: number) => string) => {
      const all: number[] = [];
      for (let i = 0; i < 8; i++) {
        const headers = { 'x-forwarded-for': forwardedFor(i) };
        all.push((await fetch(new URL('/v1/identity', daemon.url), { headers })).status);
      }
      return all;
    };
    const end = async () => {
      await daemon.stop();
      discardData(data);
      return daemon.logs;
    };
    return { daemon, statuses, end };
  };

  it('cannot be evaded by a client that claims to be others', async () => {
    const { statuses, end } = await start('');
    assert.deepEqual(await statuses((i) => `192.0.2.${i}`), [...Array(5).fill(200), 429, 429, 429]);
    assert.doesNotMatch(await end(), /X-Forwarded-For/i);
  });

  it('is shared by all workers', async () => {
    const { daemon, end } = await start('httpWorkers: 2\n', 80);
    const url = new URL('/v1/identity', daemon.url);
    // Each request has its own connection, which the operating system gives to one of the workers.
    const ask = () =>
      new Promise<number>((resolve, reject) =>
        get(url, { agent: false }, (response) =>
          response.resume().on('end', () => resolve(response.statusCode as number)),
        ).on('error', reject),
      );
    const statuses = await Promise.all(Array.from({ length: 120 }, ask));
    const taken = statuses.filter((status) => status === 200).length;
    // A worker takes its share of the limit as a lease. Other workers cannot use its rest: one request, at this limit.
    assert.ok(taken <= 80 && taken >= 79, `${taken}`);
    assert.equal(statuses.filter((status) => status === 429).length, 120 - taken);
    await end();
  });

  it('counts each client of a trusted proxy by itself', async () => {
    const { statuses, end } = await start('trustedProxies: [127.0.0.0/8]\n');
    assert.deepEqual(await statuses((i) => `192.0.2.${i}`), Array(8).fill(200));
    // An address that the client itself wrote into the header comes before the one that the proxy added.
    assert.deepEqual(await statuses((i) => `198.51.100.${i}, 192.0.2.200`), [
      ...Array(5).fill(200),
      429,
      429,
      429,
    ]);
    await end();
  });
});
