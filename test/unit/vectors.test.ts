import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { argon2 } from '../../src/client/index.js';
import { openKey } from '../../src/client/sealed-key.js';
import { StretchedOnce } from '../../src/client/stretched-once.js';
import { stretchOutput } from '../../src/client/stretching.js';
import {
  EnvelopeRecoveryError,
  generateKE1,
  generateKE3,
  identities,
  isElement,
  registrationKeys,
  ServerAuthenticationError,
  startMac,
} from '../../src/protocol/index.js';
import { vectors, written } from '../make-vectors/index.js';

const load = (name: string) => JSON.parse(readFileSync(`test/vectors/${name}`, 'utf8'));
const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));

describe('the vectors of docs/protocol.md', () => {
  it('are what the code makes; run `npm run vectors` when they are not', async () => {
    for (const [name, value] of Object.entries(await vectors()))
      assert.equal(readFileSync(`test/vectors/${name}`, 'utf8'), written(value), name);
  });

  const refused = load('refused.json');
  const [{ account, password, backupKey, vault, registration, recovery }] = load('account.json');
  const { stretch } = new StretchedOnce(stretchOutput(argon2));

  for (const { why, ...change } of refused.starts)
    it(`a start is refused that has ${why}`, () => {
      const vector = { account, ...registration, mac: registration.startMac, ...change };
      const response = hex(vector.registrationResponse);
      const expected = startMac(registrationKeys(hex(vector.shared)).start, {
        serverPublicKey: response.subarray(33),
        keyshare: hex(vector.keyshare),
        account: vector.account,
        registrationId: hex(vector.registrationId),
        blindedElement: hex(vector.registrationRequest),
        evaluatedElement: response.subarray(0, 33),
        transportKey: new Uint8Array(0),
        limit: vector.limit,
      });
      assert.notDeepEqual(Buffer.from(expected), Buffer.from(hex(vector.mac)));
    });

  const errors = { WrongPassword: EnvelopeRecoveryError, VaultIdentityMismatch: ServerAuthenticationError };
  for (const { why, code, ...change } of refused.logins as Record<string, string>[])
    it(`a login is refused that has ${why}`, async () => {
      const vector = { account, ...recovery, ...change };
      const secretOf = (text: string) => () => hex((BigInt(`0x${text}`) - 1n).toString(16).padStart(96, '0'));
      const login = generateKE1(new TextEncoder().encode(password), {
        blind: secretOf(vector.blind),
        nonce: () => hex(vector.clientNonce),
        seed: () => hex(vector.keyshareSeed),
      });
      const serverPublicKey = hex(vault.serverPublicKey);
      const names = {
        ...identities(vector.account, serverPublicKey),
        pinnedServerPublicKey: serverPublicKey,
      };
      await assert.rejects(
        generateKE3(login, hex(vector.KE2), stretch, names),
        errors[code as keyof typeof errors],
      );
      assert.ok([...login.blind, ...login.secretKey].every((byte) => byte === 0));
    });

  it('nothing of a login stays in memory when an answer cannot be read, or stretching fails', async () => {
    const fails = async () => {
      throw new Error('out of memory');
    };
    for (const [KE2, how] of [
      [new Uint8Array(12), stretch],
      [hex(recovery.KE2), fails],
    ] as const) {
      const login = generateKE1(new TextEncoder().encode(password));
      await assert.rejects(generateKE3(login, KE2, how, identities(account, hex(vault.serverPublicKey))));
      assert.ok([...login.blind, ...login.secretKey].every((byte) => byte === 0));
    }
  });

  it('a sealed key opens with the export key', async () => {
    const opened = await openKey(hex(registration.exportKey), hex(registration.encryptedBackupKey));
    assert.equal(Buffer.from(opened).toString('hex'), backupKey);
  });

  for (const { why, code, encryptedBackupKey } of refused.sealedKeys)
    it(`a sealed key is refused that has ${why}`, () =>
      assert.rejects(openKey(hex(registration.exportKey), hex(encryptedBackupKey)), { code }));

  it('bytes that are no element are refused', () => {
    for (const element of refused.elements) assert.equal(isElement(hex(element)), false, element);
  });
});
