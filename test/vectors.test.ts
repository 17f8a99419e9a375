import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { p256 } from '@noble/curves/nist.js';
import { expand } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { freshToken } from '../rig/token.js';
import { InvalidInput, readLogin } from '../src/keeper/elements/index.js';
import { KEY_LABELS } from '../src/keeper/pkcs11/index.js';
import { TokenPool } from '../src/keeper/pool/index.js';
import {
  createRegistrationRequest,
  deriveKeyPair,
  finalizeRegistration,
  generateKE1,
  generateKE3,
  oprf,
  type Stretch,
} from '../src/protocol/index.js';

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const load = (name: string) => JSON.parse(readFileSync(`test/vectors/${name}`, 'utf8'));

/** Random bytes r that give a wanted scalar: noble makes them the scalar (r mod (n-1)) + 1. */
const forScalar =
  (scalar: string) =>
  (n = 48) =>
    hex((BigInt(`0x${scalar}`) - 1n).toString(16).padStart(2 * n, '0'));
const fixed = (bytes: string) => () => hex(bytes);
const identity: Stretch = async (output) => output.slice();

describe('published vectors, with the server scalars used through the token', () => {
  let token: TokenPool;
  before(async () => {
    token = await TokenPool.open(freshToken());
  });
  after(() => token.close());

  const oprfSuite = load('rfc9497-oprf.json').find(
    (suite: { identifier: string; mode: number }) => suite.identifier === 'P256-SHA256' && suite.mode === 0,
  );
  it('RFC 9497 P256-SHA256 OPRF has vectors', () => assert.ok(oprfSuite.vectors.length >= 2));
  for (const [i, vector] of oprfSuite.vectors.entries()) {
    it(`RFC 9497 P256-SHA256 OPRF, vector ${i}`, async () => {
      const { blind, blinded } = oprf.blind(hex(vector.Input), forScalar(vector.Blind));
      assert.equal(toHex(blinded), vector.BlindedElement);
      const evaluated = await token.call('multiply', { scalar: hex(oprfSuite.skSm) }, blinded);
      assert.equal(toHex(evaluated), vector.EvaluationElement);
      assert.equal(toHex(oprf.finalize(hex(vector.Input), blind, evaluated)), vector.Output);
    });
  }

  const opaque = load('rfc9807-opaque.json').filter((v: { config: { Group: string } }) =>
    v.config.Group.startsWith('P256'),
  );
  it('RFC 9807 has two real P-256 vectors and a fake one', () =>
    assert.deepEqual(
      opaque.map((v: { config: { Fake: string } }) => v.config.Fake),
      ['False', 'False', 'True'],
    ));

  for (const [n, { config, inputs: v, outputs, intermediates }] of opaque.entries()) {
    const identities = {
      context: hex(config.Context),
      ...(v.client_identity && { clientIdentity: hex(v.client_identity) }),
      ...(v.server_identity && { serverIdentity: hex(v.server_identity) }),
    };
    const oprfKey = () =>
      oprf.deriveKeyPair(
        expand(
          sha256,
          hex(v.oprf_seed),
          Buffer.concat([hex(v.credential_identifier), Buffer.from('OprfKey')]),
          32,
        ),
        Buffer.from('OPAQUE-DeriveKeyPair'),
      ).secretKey;
    const respond = async (KE1: Uint8Array, record: Uint8Array) => {
      const oprf = { scalar: oprfKey() };
      const server = { scalar: hex(v.server_private_key) };
      const request = { ...identities, ...readLogin(KE1), record };
      return token.call('login', oprf, server, request, {
        keyshareSecret: deriveKeyPair(hex(v.server_keyshare_seed)).secretKey,
        maskingNonce: hex(v.masking_nonce),
        serverNonce: hex(v.server_nonce),
      });
    };

    if (config.Fake === 'True') {
      it('RFC 9807 P-256 fake record', async () => {
        const record = Buffer.concat([hex(v.client_public_key), hex(v.masking_key), new Uint8Array(64)]);
        assert.equal(toHex((await respond(hex(v.KE1), record)).KE2), outputs.KE2);
      });
      continue;
    }
    it(`RFC 9807 P-256 registration and login, vector ${n}`, async () => {
      const password = hex(v.password);
      const request = createRegistrationRequest(password, forScalar(v.blind_registration));
      assert.equal(toHex(request.registrationRequest), outputs.registration_request);
      const evaluated = await token.call('multiply', { scalar: oprfKey() }, request.registrationRequest);
      const response = Buffer.concat([evaluated, hex(v.server_public_key)]);
      assert.equal(toHex(response), outputs.registration_response);
      const upload = await finalizeRegistration(
        password,
        request.blind,
        response,
        identity,
        identities,
        fixed(v.envelope_nonce),
      );
      assert.equal(toHex(upload.registrationRecord), outputs.registration_upload);
      assert.equal(toHex(upload.exportKey), outputs.export_key);

      const login = generateKE1(password, {
        blind: forScalar(v.blind_login),
        nonce: fixed(v.client_nonce),
        seed: fixed(v.client_keyshare_seed),
      });
      assert.equal(toHex(login.KE1), outputs.KE1);
      const server = await respond(login.KE1, upload.registrationRecord);
      assert.equal(toHex(server.KE2), outputs.KE2);
      const client = await generateKE3(login, server.KE2, identity, identities);
      assert.equal(toHex(client.KE3), outputs.KE3);
      assert.equal(toHex(server.expectedKE3), outputs.KE3);
      assert.equal(toHex(client.sessionKey), outputs.session_key);
      assert.equal(toHex(client.exportKey), outputs.export_key);
      assert.ok(intermediates.oprf_key === toHex(oprfKey()));
    });
  }

  it('keys in the token multiply as their public keys say, for G, -G and others', async () => {
    const publicKey = await token.call('publicKey', KEY_LABELS.static);
    const G = p256.Point.BASE;
    const multiply = (P: typeof G) => token.call('multiply', { label: KEY_LABELS.static }, P.toBytes(true));
    const PK = p256.Point.fromBytes(publicKey);
    assert.deepEqual(Buffer.from(await multiply(G)), Buffer.from(publicKey));
    assert.ok(p256.Point.fromBytes(await multiply(G.negate())).equals(PK.negate()));
    for (const k of [2n, 3n, p256.Point.CURVE().n - 2n, 123456789n]) {
      assert.ok(p256.Point.fromBytes(await multiply(G.multiply(k))).equals(PK.multiply(k)), `k = ${k}`);
    }
  });

  it('refuses the identity, wrong lengths and points off the curve before the token sees them', async () => {
    const offCurve = Uint8Array.from([2, ...new Uint8Array(31), 1].slice(0, 33));
    while (true) {
      try {
        p256.Point.fromBytes(offCurve);
        offCurve[32] = (offCurve[32] as number) + 1;
      } catch {
        break;
      }
    }
    for (const bad of [
      new Uint8Array(33),
      Uint8Array.of(0),
      offCurve,
      p256.Point.BASE.toBytes(false).subarray(0, 64),
      Uint8Array.of(...p256.Point.BASE.toBytes(false).subarray(0, 64), 7),
      new Uint8Array(33).fill(255),
    ]) {
      await assert.rejects(token.call('multiply', { label: KEY_LABELS.static }, bad), InvalidInput);
    }
  });
});
