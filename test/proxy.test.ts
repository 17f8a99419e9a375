import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { proxyFor } from '../src/process/proxy.js';
import { ConnectProxy } from './support/proxy.js';

const found = (url: string, env: Record<string, string>) => proxyFor(new URL(url), env);

describe('a proxy of the environment', function () {
  this.timeout(60_000);
  const work = mkdtempSync(join(tmpdir(), 'bkv-proxy-'));
  const key = join(work, 'key');
  const identity = {
    serverPublicKey: Buffer.alloc(33, 2).toString('base64url'),
    wireVersion: 2,
    exchangeSeconds: 60,
  };
  const target = createServer((_request, response) =>
    response.setHeader('content-type', 'application/json').end(JSON.stringify(identity)),
  );
  const port = (): number => (target.address() as AddressInfo).port;
  let proxy: ConnectProxy;
  before(async () => {
    writeFileSync(key, 'ab'.repeat(32), { mode: 0o600 });
    target.listen(0, '127.0.0.1');
    await once(target, 'listening');
    proxy = await ConnectProxy.start(port);
  });
  after(() => {
    target.close();
    proxy.close();
    rmSync(work, { recursive: true });
  });
  beforeEach(() => proxy.seen.splice(0));

  const bkv = async (args: string[], env: Record<string, string>) => {
    const { HTTP_PROXY: _, HTTPS_PROXY: __, NO_PROXY: ___, ...clean } = process.env;
    const main = ['dist/src/cli/main.js', ...args];
    return promisify(execFile)(process.execPath, main, { env: { ...clean, ...env } }).then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      (error: { code: number; stdout: string; stderr: string }) => error,
    );
  };
  const address = (): string => `http://user:pass@${proxy.host}`;

  it('is asked by the command for vaults, over http: and https:', async () => {
    const pin = ['fleet', 'pin', 'http://vault.example', '--threshold', '1'];
    const refused = await bkv(pin, { HTTP_PROXY: address() });
    assert.deepEqual([refused.code, proxy.seen], [2, []]);
    assert.match(refused.stderr, /not encrypted/);
    const plain = await bkv([...pin, '--plain-http'], { HTTP_PROXY: address() });
    assert.match(plain.stdout, /url: http:\/\/vault\.example/, plain.stderr);
    const login = `Basic ${Buffer.from('user:pass').toString('base64')}`;
    assert.deepEqual(proxy.seen, [`vault.example:80 ${login}`]);

    // The server behind the proxy has no TLS. The test only checks what the proxy was asked for.
    const secure = await bkv(['fleet', 'pin', 'https://vault.example', '--threshold', '1'], {
      HTTPS_PROXY: address(),
    });
    assert.equal(secure.code, 2);
    assert.equal(proxy.seen[1], `vault.example:443 ${login}`);
  });

  it('is asked for WebDAV and S3', async () => {
    const env = {
      HTTPS_PROXY: address(),
      AWS_ACCESS_KEY_ID: 'id',
      AWS_SECRET_ACCESS_KEY: 'secret',
      AWS_ENDPOINT_URL: 'https://cloud.example',
    };
    for (const place of ['https://cloud.example/dav', 's3://bucket/folder']) {
      proxy.seen.splice(0);
      const child = spawn(process.execPath, ['dist/src/cli/main.js', 'snapshots', place, '--key-file', key], {
        env: { ...process.env, ...env },
        stdio: 'ignore',
      });
      for (let i = 0; i < 1000 && proxy.seen.length === 0; i++) await setTimeout(20);
      child.kill('SIGKILL');
      assert.match(proxy.seen[0] ?? '', /^(bucket\.)?cloud\.example:443 /, place);
    }
  });

  it('is warned of when a WebDAV password would pass it in clear', async () => {
    const snapshots = (place: string, password: string) =>
      bkv(['snapshots', place, '--key-file', key], {
        HTTP_PROXY: address(),
        BKV_WEBDAV_USER: 'alice',
        BKV_WEBDAV_PASSWORD: password,
      });
    for (const [place, password, isWarned] of [
      ['http://cloud.example/dav', 'secret', true],
      ['http://cloud.example/dav', '', false],
      [`http://127.0.0.1:${port()}/dav`, 'secret', false],
    ] as const) {
      const { code, stderr } = await snapshots(place, password);
      assert.equal(code, 1);
      assert.equal(/^warning: .*reads your WebDAV password.*use https:/m.test(stderr), isWarned, stderr);
    }
  });

  it('is not used on loopback and for hosts that NO_PROXY names', async () => {
    const url = `http://127.0.0.1:${port()}`;
    const { code, stderr } = await bkv(['fleet', 'pin', url, '--threshold', '1'], { HTTP_PROXY: address() });
    assert.equal(code, 0, stderr);
    assert.deepEqual(proxy.seen, []);

    const env = {
      HTTPS_PROXY: 'proxy:3128',
      NO_PROXY:
        'vault.example, .corp,*.wild:8443 [2001:db8::1] 2001:db8::2 10.0.0.0/8 fd00::/8 192.0.2.1/33 0.0.0.0/no',
    };
    for (const direct of [
      'https://vault.example',
      'https://a.VAULT.example',
      'https://a.corp',
      'https://a.wild:8443',
      'https://[2001:db8::1]',
      'https://[2001:db8::2]:4443',
      'https://10.200.3.4:8443',
      'https://[fdab::1]',
      'https://localhost',
      'https://127.1.2.3',
      'https://[::1]',
      'http://other.example',
    ])
      assert.equal(found(direct, env), undefined, direct);
    for (const far of [
      'https://notvault.example',
      'https://a.wild',
      'https://localhost.example',
      'https://[2001:db8::3]',
      'https://11.0.0.1',
      'https://10.example',
      'https://[fe00::1]',
      'https://192.0.2.1',
    ])
      assert.equal(found(far, env), 'http://proxy:3128', far);
    assert.equal(found('https://far.example', { ...env, NO_PROXY: '*' }), undefined);
    assert.equal(found('https://far.example', { ...env, https_proxy: 'http://small' }), 'http://small');
  });

  it('is refused if its address is not valid, and the error names the variable but not the password', async () => {
    const { code, stderr } = await bkv(['fleet', 'pin', 'https://a.example', '--threshold', '1'], {
      HTTPS_PROXY: 'socks5://user:secret@proxy',
    });
    assert.equal(code, 2);
    assert.match(stderr, /^bkv: HTTPS_PROXY is not the address of a proxy; write http:/);
    assert.doesNotMatch(stderr, /secret/);
  });
});
