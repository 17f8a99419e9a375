import assert from 'node:assert/strict';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { pour } from '../rig/servers.js';
import {
  argon2,
  type BkvError,
  DeviceTooSlow,
  FleetClient,
  formatKey,
  isLineOf,
  looksLikeKey,
  newBackupKey,
  parseKey,
  StretchingUnavailable,
  VaultClient,
} from '../src/client/index.js';
import { deriveKeyPair } from '../src/protocol/index.js';
import { stretch } from './fleet/stretch.js';

const key = Uint8Array.from({ length: 32 }, (_, i) => i * 7);

describe('the digits of a key', () => {
  const digits = formatKey(key);
  const inDigitsFrom = (zero: number) =>
    digits.replace(/[0-9]/g, (digit) => String.fromCodePoint(zero + Number(digit)));

  it('are read however they are typed', () => {
    const plain = Buffer.from(key).toString('hex');
    for (const typed of [
      digits.replaceAll('0', 'O').replaceAll('1', 'l'),
      digits.replaceAll('0', 'о').replaceAll('1', 'I').replaceAll('a', 'а').replaceAll('c', 'С'),
      inDigitsFrom(0x660),
      inDigitsFrom(0x6f0),
      inDigitsFrom(0x966),
      inDigitsFrom(0xff10),
      inDigitsFrom(0x1d7ce),
      digits.replaceAll(' ', '\u2013'),
      digits.replaceAll(' ', '\u2212'),
      `\ufeff${digits.replaceAll('\n', '\r\n')}\r\n\u200b`,
      plain,
      plain.toUpperCase(),
      plain.replace(/.{4}/g, '$&\u00a0'),
    ])
      assert.deepEqual(parseKey(typed), key, JSON.stringify(typed));
  });

  it('are typed back line by line, with the check digits or without', () => {
    for (const line of digits.split('\n')) {
      const bare = line.slice(0, -4);
      for (const typed of [
        line,
        bare,
        line.toUpperCase(),
        bare.replaceAll('0', 'O').replaceAll(' ', '\u2013'),
      ])
        assert.ok(isLineOf(typed, line), typed);
      for (const typed of ['', line.slice(1), `${line}0`, `${bare}x`, digits])
        assert.ok(!isLineOf(typed, line), typed);
    }
  });

  it('are refused when they are mistyped, and the error says where', () => {
    const says = (text: string, message: RegExp) => {
      assert.throws(() => parseKey(text), { code: 'InvalidKey', message }, JSON.stringify(text));
      assert.ok(looksLikeKey(text), JSON.stringify(text));
    };
    const lines = digits.split('\n');
    const without = (i: number) => digits.slice(0, i) + digits.slice(i + 1);
    says(
      without(lines.slice(0, 2).join().length + 1),
      /line 3 has 17 digits in place of 18: a digit is missing/,
    );
    says(without(30).replaceAll('\n', ''), /71: a digit is missing, in line 2/);
    says(`${digits.replaceAll('\n', '')}0`, /73: a digit is too many, in line 4/);
    says(Buffer.from(key).toString('hex').slice(1), /63: a digit is missing/);
    says(digits.replace(/.$/, 'x'), /line 4, character 23: "x"/);
    says(
      lines
        .map((line, i) => (i === 1 ? line.replace(/^./, (c) => (c === '3' ? '4' : '3')) : line))
        .join('\n'),
      /line 2 of the key is mistyped/,
    );
    assert.throws(() => parseKey(''), { code: 'InvalidKey' });
    assert.throws(() => parseKey(undefined as never), { code: 'InvalidKey' });
    assert.ok(looksLikeKey(lines[0] as string));
    for (const password of [
      'purple otter under glass',
      'd41d8cd98f00b204e9800998ecf8427e',
      'beef dead cafe babe  12',
      '',
    ])
      assert.ok(!looksLikeKey(password), password);
  });
});

describe('the client library, before it asks and when it is answered', () => {
  const asked: string[] = [];
  let answer: RequestListener = () => undefined;
  let server: Server;
  let url: string;
  let exchangeSeconds = 60;
  let wireVersion: unknown = 2;
  before(async () => {
    server = createServer((incoming, outgoing) => {
      if (incoming.url?.endsWith('/v1/identity'))
        return outgoing.writeHead(200, { 'content-type': 'application/json' }).end(
          JSON.stringify({
            serverPublicKey: Buffer.from(serverPublicKey).toString('base64url'),
            wireVersion,
            exchangeSeconds,
          }),
        );
      asked.push(`${incoming.method} ${incoming.url}`);
      return answer(incoming, outgoing);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(() => server.close());
  beforeEach(() => {
    asked.length = 0;
    answer = (_incoming, outgoing) => outgoing.writeHead(503).end();
  });

  const serverPublicKey = deriveKeyPair(new Uint8Array(32)).publicKey;
  const options = { url: '', serverPublicKey, account: 'alice', accessToken: () => 'jwt' };
  const vault = (more: object = {}) => new VaultClient({ ...options, url, ...more });
  const fleet = (more: object = {}) =>
    new FleetClient({
      vaults: [{ url, serverPublicKey }],
      threshold: 1,
      account: 'alice',
      accessToken: () => 'jwt',
      ...more,
    });
  const clients = (more: object = {}) => [vault(more), fleet(more)];

  const json =
    (told: object, status = 200): RequestListener =>
    (_incoming, outgoing) =>
      outgoing.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(told));

  it('takes 32 bytes as a key, and text as a password', async () => {
    for (const client of clients()) {
      for (const wrong of [new Uint8Array(5), new Uint8Array(33), 'text', undefined])
        await assert.rejects(client.register('right', wrong as never), { code: 'InvalidKey' });
      for (const [password, code] of [
        ['', 'EmptyPassword'],
        [42, 'InvalidPassword'],
        ['x'.repeat(100_000), 'PasswordTooLong'],
      ]) {
        await assert.rejects(client.register(password as never, key), { code });
        await assert.rejects(client.recover(password as never), { code });
        await assert.rejects(client.changePassword('old', password as never), { code });
      }
    }
    assert.deepEqual(asked, []);
    for (const wrong of [new Uint8Array(5), undefined])
      assert.throws(() => formatKey(wrong as never), { code: 'InvalidKey' });
    for (const wrong of ['vault.example', 'ftp://vault.example', ''])
      assert.throws(() => vault({ url: wrong }), { code: 'InvalidUrl' });
  });

  it('does everything that can fail on the device before it asks the vault', async () => {
    const tried = async (client: VaultClient | FleetClient) => {
      await assert.rejects(client.recover('right'), StretchingUnavailable);
      await assert.rejects(client.register('right', key), StretchingUnavailable);
      await assert.rejects(client.changePassword('right', 'new one'), StretchingUnavailable);
    };
    const fails = () => Promise.reject(new RangeError('Array buffer allocation failed'));
    const wrong = () => Promise.resolve(new Uint8Array(32));
    const weaker = (password: Uint8Array) => argon2(password, new Uint8Array(16).fill(1));
    for (const stretch of [fails, wrong, weaker])
      for (const client of clients({ stretch })) await tried(client);
    const { instantiate } = WebAssembly;
    const subtle = Object.getOwnPropertyDescriptor(
      Object.getPrototypeOf(crypto),
      'subtle',
    ) as PropertyDescriptor;
    for (const [spoil, mend] of [
      [
        () => Object.assign(WebAssembly, { instantiate: fails }),
        () => Object.assign(WebAssembly, { instantiate }),
      ],
      [
        () =>
          Object.defineProperty(Object.getPrototypeOf(crypto), 'subtle', {
            value: undefined,
            configurable: true,
          }),
        () => Object.defineProperty(Object.getPrototypeOf(crypto), 'subtle', subtle),
      ],
    ] as const) {
      spoil();
      try {
        for (const client of clients()) await tried(client);
      } finally {
        mend();
      }
    }
    assert.deepEqual(asked, []);
  });

  it('gives up an answer without an end, a page in the vault’s place, and a vault that waits for ever', async () => {
    let sent = 0;
    answer = (_incoming, outgoing) => {
      outgoing.writeHead(200, { 'content-type': 'application/json' });
      pour(outgoing, (bytes) => {
        sent += bytes;
      });
    };
    await assert.rejects(vault().status(), /is not a vault/);
    assert.ok(sent < 50_000_000, `${sent} bytes were sent`);
    answer = (_incoming, outgoing) => outgoing.writeHead(404).end('There is no such page.');
    await assert.rejects(vault().status(), /is not a vault/);
    exchangeSeconds = 1e12;
    try {
      await assert.rejects(vault().recover('right'), /exchangeSeconds/);
    } finally {
      exchangeSeconds = 60;
    }
  });

  it('spends no attempt when the device needs longer than the vault waits', async () => {
    const slow = async (password: Uint8Array, salt: Uint8Array) => {
      await setTimeout(1100);
      return argon2(password, salt);
    };
    exchangeSeconds = 1;
    try {
      const client = vault({ stretch: slow });
      for (const asking of [client.recover('right'), client.register('right', key)])
        await assert.rejects(asking, (error: DeviceTooSlow) => {
          assert.match(error.message, /needs some [2-9] seconds.*waits 1\. Nothing was sent/);
          return error instanceof DeviceTooSlow && error.needed >= 1100 && error.allowed === 1000;
        });
      assert.deepEqual(asked, []);
    } finally {
      exchangeSeconds = 60;
    }
    await assert.rejects(vault({ stretch: slow }).recover('right'), { code: 'VaultError' });
    assert.deepEqual(asked, ['POST /v1/recovery/start']);
  });

  it('believes no success that does not come from a vault', async () => {
    const html: RequestListener = (_incoming, outgoing) =>
      outgoing.writeHead(200, { 'content-type': 'text/html' }).end('<title>Hotel</title>');
    for (answer of [html, json({})]) {
      await assert.rejects(vault().delete(), { code: 'VaultError' });
      await assert.rejects(vault().status(), { code: 'VaultError' });
      await assert.rejects(vault().register('right', key), { code: 'VaultError' });
      await assert.rejects(fleet().delete(), { code: 'TooFewVaults' });
    }
    answer = (_incoming, outgoing) => outgoing.writeHead(423).end();
    await assert.rejects(vault().status(), (error: BkvError) => error.code === 'VaultError');
  });

  it('repeats what a vault says to people, and nothing that controls a terminal', async () => {
    answer = json({ detail: `no\u001b[2J\r\n\u202e${'x'.repeat(50_000)}` }, 503);
    await assert.rejects(vault().status(), (error: Error) => {
      assert.match(error.message, /^no \[2J xxx/);
      return error.message.length <= 500;
    });
  });

  it('takes only the numbers and names that a vault can give', async () => {
    const dealing = { dealing: 'a'.repeat(32), proven: true, attemptsRemaining: 10 };
    const good = { state: 'registered', attemptsRemaining: 10, maxAttempts: 10, dealings: [dealing] };
    answer = json(good);
    const names = [dealing.dealing];
    assert.deepEqual(await vault().status(), { state: 'registered', attemptsRemaining: 10, dealings: names });
    for (const lie of [
      { state: 'gone' },
      { attemptsRemaining: -1 },
      { attemptsRemaining: 201 },
      { attemptsRemaining: '10' },
      { attemptsRemaining: null },
      { maxAttempts: 0 },
      { dealings: 'none' },
      { dealings: [null] },
      { dealings: [{ ...dealing, dealing: '\u001b[2J' }] },
      { dealings: [{ ...dealing, attemptsRemaining: 11 }] },
      { dealings: [dealing, dealing] },
    ]) {
      answer = json({ ...good, ...lie });
      const refused = { code: 'VaultError', message: /not a vault's answer/ };
      await assert.rejects(vault().status(), refused, JSON.stringify(lie));
    }
    for (const attemptsRemaining of [undefined, -1, 1.5, '3', 1e300]) {
      answer = json({ type: 'urn:bkv:problem:wrong-password', attemptsRemaining }, 403);
      await assert.rejects(vault({ stretch }).recover('right'), { code: 'VaultError' });
    }
  });

  it('believes no answer to a recovery that does not parse, and ends the attempt', async () => {
    const KE2 = Buffer.alloc(259);
    for (const at of [0, 194]) KE2.set(serverPublicKey, at);
    const good = {
      recoveryId: 'A'.repeat(22),
      KE2: KE2.toString('base64url'),
      attemptsRemaining: 9,
    };
    const recovered = async (lie: object) => {
      asked.length = 0;
      answer = (incoming, outgoing) =>
        incoming.method === 'DELETE'
          ? outgoing.writeHead(204).end()
          : json({ ...good, ...lie })(incoming, outgoing);
      const error = await vault({ stretch })
        .recover('right')
        .catch((reason: BkvError) => reason);
      return [(error as BkvError).code, asked.slice(1)];
    };
    const ended = [`DELETE /v1/recovery/${good.recoveryId}`];
    assert.deepEqual(await recovered({}), ['WrongPassword', ended]);
    for (const lie of [
      { KE2: '' },
      { KE2: KE2.subarray(1).toString('base64url') },
      { KE2: Buffer.alloc(259).toString('base64url') },
      { KE2: 7 },
      { attemptsRemaining: 'many' },
      { attemptsRemaining: undefined },
    ])
      assert.deepEqual(await recovered(lie), ['VaultError', ended], JSON.stringify(lie));
    for (const recoveryId of ['../account', '', undefined, `${good.recoveryId}/..`])
      assert.deepEqual(await recovered({ recoveryId }), ['VaultError', []], recoveryId);
    const fails = async (password: Uint8Array, salt: Uint8Array) => {
      if (password.some((byte) => byte > 0)) throw new Error('out of memory');
      return stretch(password, salt);
    };
    asked.length = 0;
    answer = json(good);
    await assert.rejects(vault({ stretch: fails }).recover('right'), /out of memory/);
    assert.deepEqual(asked.slice(1), ended);
  });

  it('leaves nothing of a password in memory that was stretched', async () => {
    const KE2 = Buffer.alloc(259);
    for (const at of [0, 194]) KE2.set(serverPublicKey, at);
    const start = { recoveryId: 'A'.repeat(22), KE2: KE2.toString('base64url'), attemptsRemaining: 9 };
    const seen: Uint8Array[] = [];
    for (const fails of [false, true]) {
      const spied = async (password: Uint8Array, salt: Uint8Array) => {
        const stretched = await stretch(password, salt);
        if (password.every((byte) => byte === 0)) return stretched;
        seen.push(password, stretched);
        if (fails) throw new Error('out of memory');
        return stretched;
      };
      answer = json(start);
      await assert.rejects(vault({ stretch: spied }).recover('right'));
      if (fails) seen.pop();
      assert.ok(seen.length > 0 && seen.splice(0).every((secret) => secret.every((byte) => byte === 0)));
    }
  });

  it('believes no time to wait that no vault has', async () => {
    for (exchangeSeconds of [0, 1.5, -1, 3601, 1e9, Number.NaN]) {
      await assert.rejects(vault({ stretch }).recover('right'), { code: 'VaultError' });
      await assert.rejects(vault({ stretch }).register('right', key), { code: 'VaultError' });
    }
    exchangeSeconds = 60;
    assert.deepEqual(asked, []);
  });

  it('says which of the two to update when the vault speaks another version', async () => {
    try {
      for (const [version, code, said] of [
        [3, 'VersionMismatch', /version 3 .* version 2; update this program/],
        [1, 'VersionMismatch', /version 1 .* version 2; update the vault/],
        ['2', 'VaultError', /wireVersion/],
        [undefined, 'VaultError', /wireVersion/],
      ] as const) {
        wireVersion = version;
        await assert.rejects(vault().status(), { code, message: said });
        await assert.rejects(fleet().status(), { message: said });
      }
    } finally {
      wireVersion = 2;
    }
    assert.deepEqual(asked, []);
  });

  it('refuses a pinned key that is none, and names it', () => {
    for (const pinned of [new Uint8Array(33), new Uint8Array(33).fill(3), new Uint8Array(32)]) {
      const none = /not a vault's public key.*take it again/;
      assert.throws(() => vault({ serverPublicKey: pinned }), { code: 'InvalidServerKey', message: none });
      const vaults = [{ url, serverPublicKey: pinned }];
      assert.throws(() => fleet({ vaults }), { code: 'InvalidFleet', message: none });
    }
  });

  it('keeps a path of the address', async () => {
    for (const path of ['/some/path', '/some/path/'])
      await assert.rejects(vault({ url: url + path }).status());
    assert.deepEqual(asked, ['GET /some/path/v1/account', 'GET /some/path/v1/account']);
  });

  it('says when the app has no access token, and sends nothing', async () => {
    for (const accessToken of [
      () => Promise.reject(new Error('signed out')),
      () => {
        throw new Error('signed out');
      },
      () => undefined as never,
      () => 'two\nlines',
    ])
      await assert.rejects(vault({ accessToken }).status(), { code: 'AccessTokenUnavailable' });
    assert.deepEqual(asked, []);
  });

  it('refuses a second key unless the first is given up', async () => {
    answer = (incoming, outgoing) => {
      if (incoming.url === '/v1/account')
        outgoing
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ state: 'registered', attemptsRemaining: 10, dealings: [] }));
      else outgoing.writeHead(503).end();
    };
    await assert.rejects(vault().register('right', newBackupKey()), { code: 'KeyExists' });
    assert.deepEqual(asked, ['GET /v1/account']);
    await assert.rejects(vault().register('right', newBackupKey(), { replace: true }), {
      code: 'VaultError',
    });
    assert.equal(asked.at(-1), 'POST /v1/registration/start');
  });
});
