import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { connect, type PeerCertificate } from 'node:tls';
import { Daemon } from '../rig/daemon.js';
import { discardData } from '../rig/token.js';
import { VaultClient } from '../src/client/index.js';

describe('the certificate of the API', () => {
  const data = mkdtempSync(join(tmpdir(), 'bkv-tls-'));
  let daemon: Daemon;
  const file = (name: string) => join(data, name);
  const make = (name: string) =>
    execFileSync(
      'openssl',
      [
        ...['req', '-x509', '-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'],
        ...['-subj', `/CN=${name}`, '-days', '2', '-keyout', file('key.pem'), '-out', file('cert.pem')],
      ],
      { stdio: 'ignore' },
    );
  const served = () =>
    new Promise<string>((resolve, reject) => {
      const { hostname, port } = new URL(daemon.url);
      const socket = connect({ host: hostname, port: Number(port), rejectUnauthorized: false }, () => {
        const { subject } = socket.getPeerCertificate() as PeerCertificate;
        socket.end();
        resolve(String(subject.CN));
      });
      socket.on('error', reject);
    });
  const until = async (name: string) => {
    for (let i = 0; i < 100; i++) {
      if ((await served()) === name) return;
      await setTimeout(50);
    }
    assert.fail(`${name} is not served: ${daemon.logs.slice(-500)}`);
  };
  before(async () => {
    make('first');
    daemon = await Daemon.start(data, { config: `tls: { cert: cert.pem, key: key.pem }\n` });
  });
  after(async () => {
    await daemon?.stop();
    discardData(data);
  });

  it('is read again at SIGHUP, which ends no connection; if the new one is of no use, the old one stays', async () => {
    assert.equal(await served(), 'first');
    const client = new VaultClient({
      url: daemon.url,
      serverPublicKey: Buffer.alloc(33, 2),
      account: 'alice',
      accessToken: () => 'none',
    });
    await assert.rejects(client.status(), {
      status: 0,
      message: /did not answer \(DEPTH_ZERO_SELF_SIGNED_CERT\)/,
    });
    make('second');
    daemon.child.kill('SIGHUP');
    await until('second');
    const cert = readFileSync(file('cert.pem'));
    make('third');
    // The new key is there, its certificate is not yet.
    writeFileSync(file('cert.pem'), cert);
    daemon.child.kill('SIGHUP');
    while (!daemon.logs.includes('of no use')) await setTimeout(50);
    assert.equal(await served(), 'second');
    writeFileSync(file('cert.pem'), 'none');
    daemon.child.kill('SIGHUP');
    for (const pid of daemon.processes().all) process.kill(pid, 'SIGHUP');
    await setTimeout(500);
    assert.equal(await served(), 'second');
    assert.match(daemon.logs, /the new certificate is of no use/);
    assert.ok(await daemon.ready());
  });
});
