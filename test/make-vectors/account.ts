import { randomStream } from '../../rig/random.js';
import { preparePassword } from '../../src/client/index.js';
import {
  audienceOf,
  createRegistrationRequest,
  deriveKeyPair,
  diffieHellman,
  finalizeRegistration,
  finishMac,
  generateKE1,
  generateKE2,
  generateKE3,
  identities,
  randomizePassword,
  registrationKeys,
  startMac,
  xOf,
} from '../../src/protocol/index.js';
import { fields, forScalar, hex, sealed, stretch, utf8 } from './bytes.js';

/** Vectors of a registration and the following login of one account at one vault, with all secrets, even the vault's. */
export async function account(name: string, typed: string) {
  const random = randomStream(`vectors ${name}`);
  const scalar = () => deriveKeyPair(random(32));
  const [vault, oprfKey, keyshare, blind, loginBlind, serverKeyshare] = Array.from({ length: 6 }, scalar) as [
    ReturnType<typeof scalar>,
    ReturnType<typeof scalar>,
    ReturnType<typeof scalar>,
    ReturnType<typeof scalar>,
    ReturnType<typeof scalar>,
    ReturnType<typeof scalar>,
  ];
  const S = vault.publicKey;
  const names = identities(name, S);
  const prepared = preparePassword(typed);
  const backupKey = random(32);
  const limit = 10;

  const request = createRegistrationRequest(prepared, forScalar(blind.secretKey));
  const evaluated = diffieHellman(oprfKey.secretKey, request.registrationRequest);
  const registrationResponse = Buffer.concat([evaluated, S]);
  const registrationId = random(16);
  const shared = xOf(diffieHellman(vault.secretKey, keyshare.publicKey));
  const keys = registrationKeys(shared.slice());
  const started = startMac(keys.start, {
    serverPublicKey: S,
    keyshare: keyshare.publicKey,
    account: name,
    registrationId,
    blindedElement: request.registrationRequest,
    evaluatedElement: evaluated,
    transportKey: new Uint8Array(0),
    limit,
  });
  const envelopeNonce = random(32);
  const randomizedPassword = await randomizePassword(
    prepared,
    request.blind.slice(),
    evaluated.slice(),
    stretch,
  );
  const { registrationRecord, exportKey } = await finalizeRegistration(
    prepared,
    request.blind.slice(),
    registrationResponse,
    stretch,
    names,
    () => envelopeNonce,
  );
  const nonce = random(12);
  const { keyEncryptionKey, encryptedBackupKey } = sealed(exportKey, nonce, backupKey);
  const finish = (replace: boolean) =>
    finishMac(keys.finish, started, { registrationRecord, encryptedBackupKey, replace });

  const clientNonce = random(32);
  const keyshareSeed = random(32);
  const login = generateKE1(prepared, {
    blind: forScalar(loginBlind.secretKey),
    nonce: () => clientNonce,
    seed: () => Uint8Array.from(keyshareSeed),
  });
  const clientKeyshare = login.KE1.subarray(65);
  const maskingNonce = random(32);
  const serverNonce = random(32);
  const { KE2 } = generateKE2({
    ...names,
    KE1: login.KE1,
    record: registrationRecord,
    serverPublicKey: S,
    evaluatedElement: diffieHellman(oprfKey.secretKey, login.KE1.subarray(0, 33)),
    maskingNonce,
    serverNonce,
    serverKeyshare: serverKeyshare.publicKey,
    dh1: diffieHellman(serverKeyshare.secretKey, clientKeyshare),
    dh2: diffieHellman(vault.secretKey, clientKeyshare),
    dh3: diffieHellman(serverKeyshare.secretKey, registrationRecord.subarray(0, 33)),
  });
  const { KE3, sessionKey } = await generateKE3(login, KE2, stretch, { ...names, pinnedServerPublicKey: S });

  return {
    account: name,
    password: typed,
    backupKey: hex(backupKey),
    vault: {
      secret: hex(vault.secretKey),
      serverPublicKey: hex(S),
      audience: audienceOf(Buffer.from(S).toString('base64url')),
      oprfKey: hex(oprfKey.secretKey),
    },
    names: {
      clientIdentity: hex(names.clientIdentity as Uint8Array),
      serverIdentity: hex(names.serverIdentity as Uint8Array),
    },
    registration: {
      blind: hex(blind.secretKey),
      registrationRequest: hex(request.registrationRequest),
      keyshareSecret: hex(keyshare.secretKey),
      keyshare: hex(keyshare.publicKey),
      shared: hex(shared),
      startKey: hex(keys.start),
      finishKey: hex(keys.finish),
      registrationId: hex(registrationId),
      registrationResponse: hex(registrationResponse),
      limit,
      startMacInput: hex(
        fields(
          Uint8Array.of(2),
          S,
          keyshare.publicKey,
          utf8(name),
          registrationId,
          request.registrationRequest,
          evaluated,
          Uint8Array.of(),
          Uint8Array.of(0),
          Uint8Array.of(1),
          Uint8Array.of(limit),
          Uint8Array.of(),
          Uint8Array.of(0),
        ),
      ),
      startMac: hex(started),
      randomizedPassword: hex(randomizedPassword),
      envelopeNonce: hex(envelopeNonce),
      registrationRecord: hex(registrationRecord),
      exportKey: hex(exportKey),
      keyEncryptionKey,
      nonce: hex(nonce),
      encryptedBackupKey: hex(encryptedBackupKey),
      finishMac: hex(finish(false)),
      finishMacReplacing: hex(finish(true)),
    },
    recovery: {
      blind: hex(loginBlind.secretKey),
      clientNonce: hex(clientNonce),
      keyshareSeed: hex(keyshareSeed),
      serverKeyshareSecret: hex(serverKeyshare.secretKey),
      maskingNonce: hex(maskingNonce),
      serverNonce: hex(serverNonce),
      KE1: hex(login.KE1),
      KE2: hex(KE2),
      KE3: hex(KE3),
      sessionKey: hex(sessionKey),
    },
  };
}

export type Account = Awaited<ReturnType<typeof account>>;
