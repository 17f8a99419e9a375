import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { authOf, type Config, loadConfig } from '../../src/config/index.js';
import { decode, encode } from '../../src/keeper/socket/fields.js';
import { API } from '../../src/keeper/socket/messages.js';
import { CodedError } from '../../src/protocol/index.js';

describe('the configuration of a daemon', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bkv-config-'));
  const file = join(folder, 'bkv.yaml');
  const load = (text: string): Config => {
    writeFileSync(file, text);
    return loadConfig(file);
  };
  /** @returns lines of the error's message */
  const faults = async (work: () => unknown): Promise<string[]> => {
    try {
      await work();
    } catch (error) {
      assert.ok(error instanceof CodedError && error.code === 'usage');
      return error.message.split('\n');
    }
    return [];
  };
  after(() => rmSync(folder, { recursive: true }));

  it('resolves files against its own folder, and takes URLs as they are', () => {
    const config = load(
      'database: data/rows.sqlite\nauth: { jwks: keys.json, issuer: me }\nprofile: hsm.yaml\n',
    );
    assert.equal(config.database, join(folder, 'data/rows.sqlite'));
    assert.equal(config.auth?.jwks, join(folder, 'keys.json'));
    assert.equal(config.profile, join(folder, 'hsm.yaml'));
    const urls = load(
      'database: postgres://bkv@db/bkv\nauth: { jwks: https://id.example/keys, issuer: me }\n',
    );
    assert.equal(urls.database, 'postgres://bkv@db/bkv');
    assert.equal(urls.auth?.jwks, 'https://id.example/keys');
  });

  it('takes the identity provider’s keys only from where nobody on the way can change them', async () => {
    const from = (jwks: string) => faults(() => load(`auth: { jwks: "${jwks}", issuer: me }\n`));
    for (const jwks of ['http://id.example/keys', 'http://127.id.example/', 'http://localhost.example/k'])
      assert.match((await from(jwks)).join(), /bkv\.yaml:1: auth\.jwks: .*use https:/, jwks);
    assert.match((await from('http:/')).join(), /auth\.jwks: must be an https: URL/);
    for (const jwks of [
      'http://localhost:1/k',
      'http://127.0.0.1/k',
      'http://[::1]:80/k',
      'https://id.example',
    ])
      assert.deepEqual(await from(jwks), []);
    // A host that is only named like this machine may be reached by others.
    const [fault] = await faults(() => authOf(load('listen: 127.vault.example:8200\n'), folder));
    assert.match(fault as string, /^auth: is missing/);
  });

  it('reports everything that is wrong at once, each with its line and what may have been meant', async () => {
    const lines = await faults(() =>
      load('listen: nowhere\nmaxAttempt: 5\ntls: { cert: a.pem }\nrateLimit: { account: 0 }\n'),
    );
    assert.equal(lines.length, 4);
    for (const [line, what] of [
      [1, 'listen'],
      [2, 'did you mean "maxAttempts"'],
      [3, 'tls.key'],
      [4, 'rateLimit.account'],
    ] as const)
      assert.ok(
        lines.some((one) => one.includes(`bkv.yaml:${line}:`) && one.includes(what)),
        `${line} ${what} in ${lines.join(' | ')}`,
      );
  });

  it('accepts only what the messages to clients can carry', async () => {
    const extremes: [string, number][] = [
      ['exchangeSeconds', 1],
      ['exchangeSeconds', 3600],
      ['maxAttempts', 1],
      ['maxAttempts', 200],
    ];
    for (const [field, value] of extremes) {
      const { maxAttempts, exchangeSeconds } = load(`${field}: ${value}\n`);
      const identity = { serverPublicKey: new Uint8Array(33), maxAttempts, exchangeSeconds };
      assert.deepEqual(decode(API.identity.result, encode(API.identity.result, identity)), identity);
      assert.equal((identity as Record<string, unknown>)[field], value);
    }
    for (const text of [
      'exchangeSeconds: 1.5',
      'exchangeSeconds: 3601',
      'maxAttempts: 2.5',
      'maxAttempts: 201',
    ])
      assert.match(String(await faults(() => load(`${text}\n`))), /must be a whole number from 1 to/, text);
  });
});
