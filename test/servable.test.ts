import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assertServable, type Config, loadConfig } from '../src/config/index.js';
import type { CodedError } from '../src/protocol/index.js';
import { makeCertificate } from './support/certificates.js';

describe('a configuration is tried before anybody is on duty', function () {
  this.timeout(20_000);
  const folder = mkdtempSync(join(tmpdir(), 'bkv-servable-'));
  const load = (text: string): Config => {
    const file = join(folder, 'bkv.yaml');
    writeFileSync(file, text);
    return loadConfig(file);
  };
  /** @returns lines of the error's message */
  const faults = (config: Config): Promise<string[]> =>
    assertServable(config).then(
      () => [],
      (error: CodedError) => {
        assert.equal(error.code, 'usage');
        return error.message.split('\n');
      },
    );
  let taken: Server;
  let port: number;
  before(async () => {
    taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    port = (taken.address() as { port: number }).port;
    for (const [name, until] of [
      ['one', 1],
      ['other', 1],
      ['ended', -0.5],
    ] as const)
      makeCertificate({ name, cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`), until });
  });
  after(() => {
    taken.close();
    rmSync(folder, { recursive: true });
  });
  const free = 'listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n';

  it('and taken when it can be served', async () => {
    await assertServable(load(`${free}tls: { cert: one.pem, key: one.key, clientCa: other.pem }\n`));
    // An expired certificate is accepted, because this machine's clock may be wrong. The server logs it.
    await assertServable(load(`${free}tls: { cert: ended.pem, key: ended.key }\n`));
  });

  it('and refused for the key of another certificate, a file that is no certificate, or a port in use', async () => {
    const tls = (fields: string) => faults(load(`${free}tls: { ${fields} }\n`));
    assert.match((await tls('cert: one.pem, key: other.key')).join(), /do not go together/);
    writeFileSync(join(folder, 'text.pem'), 'text');
    assert.match((await tls('cert: text.pem, key: one.key')).join(), /do not go together/);
    assert.match(
      (await tls('cert: one.pem, key: one.key, clientCa: text.pem')).join(),
      /clientCa.*no certificate/,
    );
    const both = await faults(
      load(`listen: 127.0.0.1:${port}\nadmin: 203.0.113.1:1\ntls: { cert: one.pem, key: gone.key }\n`),
    );
    assert.deepEqual(
      both.map((line) => line.split(':')[0]),
      ['tls.key', 'listen', 'admin'],
    );
    assert.match(both[1] as string, /another program listens there/);
  });
});
