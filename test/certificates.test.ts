import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { connect, type PeerCertificate } from 'node:tls';
import { Daemon } from '../rig/daemon.js';
import { discardData } from '../rig/token.js';
import { VaultClient } from '../src/client/index.js';
import { makeCertificate } from './support/certificates.js';

const OF_NO_USE = 'the new certificate is of no use';
const NOT_VALID = '"message":"a certificate is not valid now, and clients refuse it"';

describe('the certificate of the API', () => {
  const data = mkdtempSync(join(tmpdir(), 'bkv-tls-'));
  let daemon: Daemon;
  const file = (name: string) => join(data, name);
  const make = (name: string, days: { from?: number; until?: number } = {}) =>
    makeCertificate({ name, cert: file('cert.pem'), key: file('key.pem'), ...days });
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
  const ends = () => daemon.metric('bkv_tls_certificate_not_after_seconds{certificate="server"}');
  const until = async <T>(wanted: T, found: () => T | Promise<T>) => {
    let last: T | undefined;
    for (let i = 0; i < 200; i++) {
      last = await Promise.resolve(found()).catch(() => undefined);
      if (last === wanted) return;
      await setTimeout(50);
    }
    assert.equal(last, wanted, daemon.logs.slice(-500));
  };
  const times = (said: string) => daemon.logs.split(said).length - 1;
  before(async () => {
    const end = make('first');
    daemon = await Daemon.start(data, { config: 'httpWorkers: 2\ntls: { cert: cert.pem, key: key.pem }\n' });
    assert.equal(await ends(), end);
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
    const end = make('second', { until: 100 });
    daemon.child.kill('SIGHUP');
    // The metrics have the earliest end of both workers.
    await until(end, ends);
    assert.equal(await served(), 'second');
    const cert = readFileSync(file('cert.pem'));
    make('third');
    // The new key is there, its certificate is not yet.
    writeFileSync(file('cert.pem'), cert);
    daemon.child.kill('SIGHUP');
    await until(2, () => times(OF_NO_USE));
    assert.equal(await served(), 'second');
    writeFileSync(file('cert.pem'), 'none');
    daemon.child.kill('SIGHUP');
    for (const pid of daemon.processes().all) process.kill(pid, 'SIGHUP');
    await setTimeout(500);
    assert.equal(await served(), 'second');
    assert.equal(await ends(), end);
    assert.ok(await daemon.ready());
  });

  it('that has ended, or begins later, leaves one that is good in use', async () => {
    const end = await ends();
    for (const days of [
      { from: -9, until: -1 },
      { from: 1, until: 90 },
    ]) {
      const told = times('cert.pem is valid from');
      make('not valid', days);
      daemon.child.kill('SIGHUP');
      await until(told + 2, () => times('cert.pem is valid from'));
      assert.equal(await served(), 'second');
      assert.equal(await ends(), end);
    }
    assert.equal(times(NOT_VALID), 0);
  });

  it('is as good as the one of its chain that ends first, and is warned about in time', async () => {
    const soon = make('intermediate', { until: 3 });
    const chain = readFileSync(file('cert.pem'));
    make('third');
    writeFileSync(file('cert.pem'), Buffer.concat([readFileSync(file('cert.pem')), chain]));
    daemon.child.kill('SIGHUP');
    await until(soon, ends);
    assert.equal(await served(), 'third');
    await until(2, () => times('"message":"a certificate ends soon"'));
  });

  it('that has ended is served after a start and logged as an error, until a new one comes', async () => {
    const ended = make('ended', { from: -9, until: -1 });
    for (const worker of daemon.processes().workers) process.kill(worker, 'SIGKILL');
    await until('ended', served);
    await until(ended, ends);
    await until(2, () => times(NOT_VALID));
    daemon.child.kill('SIGHUP');
    const end = make('renewed');
    daemon.child.kill('SIGHUP');
    await until(end, ends);
    await until('renewed', served);
    assert.equal(times(NOT_VALID), 2);
  });
});
