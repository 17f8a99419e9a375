import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { types } from 'node:util';
import { Worker } from 'node:worker_threads';
import { Daemon } from '../rig/daemon.js';
import { freshToken, run } from '../rig/token.js';
import { newBackupKey } from '../src/client/index.js';
import { readLogin } from '../src/keeper/elements/index.js';
import { KEY_LABELS } from '../src/keeper/pkcs11/index.js';
import { TokenPool } from '../src/keeper/pool/index.js';
import { generateKE1, PLAIN } from '../src/protocol/index.js';

/** @returns names of the needles found in the memory of a process */
function searchMemory(pid: number, needles: Record<string, Uint8Array>): string[] {
  const found = new Set<string>();
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  const overlap = 64;
  const chunk = Buffer.alloc(8 * 1024 * 1024);
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
    const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
    if (!from || !to) continue;
    const end = BigInt(`0x${to}`);
    for (let at = BigInt(`0x${from}`); at < end; at += BigInt(chunk.length - overlap)) {
      const length = Number(end - at < BigInt(chunk.length) ? end - at : BigInt(chunk.length));
      let read = 0;
      try {
        read = readSync(memory, chunk, 0, length, at as unknown as number);
      } catch {
        break;
      }
      for (const [name, needle] of Object.entries(needles))
        if (chunk.subarray(0, read).includes(Buffer.from(needle))) found.add(name);
    }
  }
  closeSync(memory);
  return [...found].sort();
}

/** All views in what is posted to a thread. */
const viewsIn = (value: unknown): Uint8Array[] => {
  if (types.isUint8Array(value)) return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(viewsIn) : [];
};

describe('secrets', () => {
  const work = mkdtempSync(join(tmpdir(), 'bkv-secrets-'));
  after(() => rmSync(work, { recursive: true, force: true }));

  it('memory and logs of the daemon hold no password, backup key or OPRF key', async function () {
    this.timeout(120_000);
    const data = join(work, 'memory');
    execFileSync('mkdir', [data]);
    // To look for the OPRF key, the test must know it. So its wrapping key is as an older version made it: keys can be
    // taken out.
    await (await Daemon.start(data)).stop();
    run('dist/rig/objects.js', data, 'old-wrap');
    const daemon = await Daemon.start(data, { config: 'maxAttempts: 10\n' });
    assert.match(daemon.logs, /unsafe: whoever has the PIN can take keys away/);
    const password = 'a password that stands nowhere else';
    const backupKey = newBackupKey();
    const client = daemon.client('alice');
    await client.register(password, backupKey);
    await assert.rejects(client.recover('another password that stands nowhere'));
    assert.deepEqual((await client.recover(password)).backupKey, backupKey);
    const oprfKey = Buffer.from(run('dist/rig/objects.js', data, 'oprf-keys').trim(), 'hex');
    assert.equal(oprfKey.length, 32);
    const secrets = {
      password: Buffer.from(password),
      'password, as UTF-16': Buffer.from(password, 'utf16le'),
      'wrong password': Buffer.from('another password that stands nowhere'),
      'backup key': backupKey,
      'backup key, in hexadecimal': Buffer.from(Buffer.from(backupKey).toString('hex')),
      'OPRF key': oprfKey,
      // This must be found: it proves that the search works.
      'account name': Buffer.from(await daemon.nameOf('alice')),
    };
    const { keeper, workers } = daemon.processes();
    assert.deepEqual(searchMemory(keeper as number, secrets), ['account name']);
    for (const worker of workers) assert.deepEqual(searchMemory(worker, secrets), []);
    await daemon.stop();
    for (const secret of Object.values(secrets).slice(0, -1))
      for (const encoding of ['utf8', 'hex', 'base64url'] as const)
        assert.ok(!daemon.logs.includes(Buffer.from(secret).toString(encoding)));
  });

  it('a thread of the token is given the bytes of its calls, and none that lie beside them in the pool', async () => {
    const token = await TokenPool.open(freshToken());
    const posted: Uint8Array[] = [];
    const { postMessage } = Worker.prototype;
    Worker.prototype.postMessage = function (message: unknown, ...rest: []) {
      posted.push(...viewsIn(message));
      postMessage.call(this, message, ...rest);
    };
    try {
      await token.call('hmac', KEY_LABELS.fake, Buffer.from('in the pool'));
      const key = { scalar: Buffer.from('01'.repeat(32), 'hex') };
      const { KE1, ...elements } = readLogin(generateKE1(Buffer.from('a guess')).KE1);
      const record = Buffer.concat([KE1.subarray(0, 33), new Uint8Array(96)]);
      assert.ok(record.buffer.byteLength > record.length, 'it lies in the pool');
      await token.call('login', key, { label: KEY_LABELS.static }, { ...PLAIN, KE1, ...elements, record });
    } finally {
      Worker.prototype.postMessage = postMessage;
      await token.close();
    }
    assert.deepEqual(posted.map(({ length }) => length).sort(), [0, 11, 32, 65, 65, 98, 129].sort());
    for (const { length, buffer } of posted) assert.equal(buffer.byteLength, length);
  });

  it('serves TLS, and asks for client certificates if configured', async () => {
    const data = join(work, 'tls');
    execFileSync('mkdir', [data]);
    const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: data, stdio: 'pipe' });
    const certificate = (name: string, subject: string, ...more: string[]) =>
      openssl(
        ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
        ...['-keyout', `${name}.key`, '-out', `${name}.pem`, '-subj', subject, ...more],
      );
    certificate('server', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1');
    certificate('client', '/CN=app');
    const path = (name: string) => join(data, name);
    const daemon = await Daemon.start(data, {
      config: `tls: { cert: ${path('server.pem')}, key: ${path('server.key')}, clientCa: ${path('client.pem')} }\n`,
    });
    const get = (options: object) =>
      new Promise<number | undefined>((resolve, reject) => {
        request(new URL('/v1/identity', daemon.url), { ca: readFileSync(path('server.pem')), ...options })
          .on('response', (response) => resolve(response.resume().statusCode))
          .on('error', reject)
          .end();
      });
    assert.match(daemon.url, /^https:/);
    const { validTo } = new X509Certificate(readFileSync(path('client.pem')));
    const end = await daemon.metric('bkv_tls_certificate_not_after_seconds{certificate="client CA"}');
    assert.equal(end * 1000, Date.parse(validTo));
    assert.equal(
      await get({ cert: readFileSync(path('client.pem')), key: readFileSync(path('client.key')) }),
      200,
    );
    await assert.rejects(get({}), /certificate required|ECONNRESET|handshake|EPROTO/);
    await daemon.stop();
  });
});
