import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mock } from 'node:test';
import { exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import { type Authenticate, authenticator } from '../../src/keeper/access/index.js';
import { CodedError, codeOf, type ErrorCode } from '../../src/protocol/index.js';

const issuer = 'https://issuer.example';
const audience = 'bkv:vault';
const code = (wanted: ErrorCode) => (error: unknown) => error instanceof CodedError && error.code === wanted;

/** Makes a key of the identity provider, which signs JWTs. */
async function makeKey(kid: string) {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
  const jwk: JWK = { ...(await exportJWK(publicKey)), kid, alg: 'ES256' };
  let count = 0;
  const jwt = (subject = 'alice') =>
    new SignJWT({ jti: String(count++) })
      .setProtectedHeader({ alg: 'ES256', kid })
      .setIssuer(issuer)
      .setAudience(audience)
      .setSubject(subject)
      .setExpirationTime('1h')
      .sign(privateKey);
  return { jwk, jwt };
}

const set = (...keys: { jwk: JWK }[]): string => JSON.stringify({ keys: keys.map(({ jwk }) => jwk) });

describe('the keys of an identity provider', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bkv-jwks-'));
  let server: Server;
  let url: string;
  let answer: RequestListener;
  let asked = 0;
  let first: Awaited<ReturnType<typeof makeKey>>;
  let second: Awaited<ReturnType<typeof makeKey>>;
  let authenticate: Authenticate;
  const gives =
    (text: string): RequestListener =>
    (_request, response) =>
      response.end(text);
  const fails =
    (status: number, headers: Record<string, string> = {}, text = ''): RequestListener =>
    (_request, response) =>
      response.writeHead(status, headers).end(text);
  /** Moves the monotonic clock ahead. */
  const later = (ms: number) => {
    const now = performance.now.bind(performance);
    mock.method(performance, 'now', () => now() + ms);
  };

  before(async () => {
    [first, second] = await Promise.all([makeKey('first'), makeKey('second')]);
    server = createServer((request, response) => {
      asked++;
      answer(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`;
  });
  after(() => {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  });
  beforeEach(() => {
    asked = 0;
    answer = gives(set(first));
    authenticate = authenticator({ jwks: url, issuer, audience });
  });
  afterEach(() => mock.restoreAll());

  const outages: [string, () => RequestListener][] = [
    ['500', () => fails(500)],
    ['503', () => fails(503, { 'retry-after': '5' })],
    ['a login page', () => fails(200, { 'content-type': 'text/html' }, '<html>Sign in</html>')],
    ['JSON that is no key set', () => gives('{"keys":"none"}')],
    ['a redirect', () => fails(302, { location: `${url}?elsewhere` })],
    ['too much', () => gives(`{"keys":[],"more":"${'x'.repeat(1_000_001)}"}`)],
    ['a hang-up', () => (request) => request.socket.destroy()],
  ];
  for (const [name, outage] of outages)
    it(`that answers with ${name}: known keys go on, and a key that may be new is 503`, async () => {
      await authenticate(await first.jwt());
      answer = outage();
      later(3_600_000);
      assert.equal((await authenticate(await first.jwt())).subject, 'alice');
      await assert.rejects(authenticate(await second.jwt()), code('unavailable'));
      assert.equal((await authenticate(await first.jwt())).subject, 'alice');
      answer = gives(set(first, second));
      later(3_700_000);
      assert.equal((await authenticate(await second.jwt())).subject, 'alice');
    });

  it('verify an access token in both messages of a recovery, even if the clock jumps in between', async () => {
    const accessToken = await first.jwt();
    await authenticate(accessToken);
    const now = Date.now.bind(Date);
    for (const hours of [5, -5]) {
      mock.method(Date, 'now', () => now() + hours * 3_600_000);
      assert.equal((await authenticate(accessToken)).subject, 'alice');
      mock.restoreAll();
    }
    later(61_000);
    mock.method(
      globalThis,
      'Date',
      class extends Date {
        constructor() {
          super(now() + 5 * 3_600_000);
        }
      },
    );
    await assert.rejects(authenticate(accessToken), code('unauthorized'));
  });

  it('that could never be read give 503, and 401 is answered only about keys that were read', async () => {
    answer = fails(503);
    await assert.rejects(authenticate(await first.jwt()), code('unavailable'));
    await assert.rejects(authenticate('no.jwt'), code('unauthorized'));
    later(10_000);
    answer = gives(set(second));
    await assert.rejects(authenticate(await first.jwt()), code('unauthorized'));
  });

  it('verify no access token whose account is not Unicode, because two such would get one name', async () => {
    const sign = (subject: string) => first.jwt(subject);
    for (const subject of ['a\ud800', 'a\udfff', '\udc00\ud800'])
      await assert.rejects(sign(subject).then(authenticate), code('unauthorized'));
    assert.equal((await authenticate(await sign('a\u{1f600}\ufffd'))).subject, 'a\u{1f600}\ufffd');
  });

  it('that come slowly delay nobody whose key is known', async () => {
    await authenticate(await first.jwt());
    answer = () => undefined;
    later(3_600_000);
    const begun = Date.now();
    await authenticate(await first.jwt());
    assert.ok(Date.now() - begun < 1000);
  });

  it('that are endless are not read to the end', async () => {
    await authenticate(await first.jwt());
    let sent = 0;
    answer = (_request, response) => {
      const more = () => {
        while (!response.destroyed && sent < 500_000_000) {
          sent += 65_536;
          if (!response.write(' '.repeat(65_536))) return response.once('drain', more);
        }
        return response.end();
      };
      more();
    };
    later(3_600_000);
    await assert.rejects(authenticate(await second.jwt()), code('unavailable'));
    assert.ok(sent < 50_000_000, `${sent} bytes`);
  });

  it('are fetched once, however many unknown keys are named', async () => {
    await authenticate(await first.jwt());
    const unknown = await Promise.all(Array.from({ length: 20 }, () => second.jwt()));
    later(10_000);
    await Promise.all(unknown.map((jwt) => assert.rejects(authenticate(jwt), code('unauthorized'))));
    assert.equal(asked, 2);
  });

  it('that are of no use are no fault of the access token', async () => {
    answer = gives(set({ jwk: { ...first.jwk, x: 'AAAA' } }));
    await assert.rejects(authenticate(await first.jwt()), (error) => codeOf(error) === 'internal');
  });

  it('in a file are read again when the file changes, and stay valid for a while when it is gone', async () => {
    const file = join(folder, 'jwks.json');
    writeFileSync(file, set(first));
    authenticate = authenticator({ jwks: file, issuer, audience });
    await authenticate(await first.jwt());
    writeFileSync(file, set(second));
    later(10_000);
    await authenticate(await second.jwt());
    await assert.rejects(authenticate(await first.jwt()), code('unauthorized'));
    rmSync(file);
    later(3_600_000);
    await authenticate(await second.jwt());
    later(3_700_000);
    await assert.rejects(authenticate(await first.jwt()), code('unavailable'));
  });
});
