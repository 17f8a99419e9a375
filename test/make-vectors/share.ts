import { aeskwp } from '@noble/ciphers/aes.js';
import { p256 } from '@noble/curves/nist.js';
import { randomStream } from '../../rig/random.js';
import { defineFleet } from '../../src/client/fleet/definition.js';
import {
  deriveKeyPair,
  diffieHellman,
  finishMac,
  identities,
  interpolate,
  registrationKeys,
  startMac,
  xOf,
} from '../../src/protocol/index.js';
import { hex } from './bytes.js';

const { Fn } = p256.Point;
const PKCS8 = Buffer.from('3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420', 'hex');

/** The part of a share's registration that differs from that of a vault's own key. The record is made before it. */
function registration(random: (length: number) => Buffer, share: Uint8Array, index: number, dealing: string) {
  const [vault, keyshare, transport] = [0, 1, 2].map(() => deriveKeyPair(random(32))) as [
    ReturnType<typeof deriveKeyPair>,
    ReturnType<typeof deriveKeyPair>,
    ReturnType<typeof deriveKeyPair>,
  ];
  const S = vault.publicKey;
  const account = 'alice';
  const limit = 10;
  const registrationId = random(16);
  const keys = registrationKeys(xOf(diffieHellman(keyshare.secretKey, S)));
  const started = startMac(keys.start, {
    serverPublicKey: S,
    keyshare: keyshare.publicKey,
    account,
    registrationId,
    blindedElement: Uint8Array.of(),
    evaluatedElement: Uint8Array.of(),
    transportKey: transport.publicKey,
    limit,
    dealt: { dealing: Buffer.from(dealing, 'hex'), index },
  });
  const wrappingKey = xOf(diffieHellman(keyshare.secretKey, transport.publicKey));
  const wrapped = aeskwp(wrappingKey).encrypt(Buffer.concat([PKCS8, share]));
  const publicKey = p256.getPublicKey(share, true);
  const [registrationRecord, encryptedBackupKey] = [random(129), random(60)];
  return {
    account,
    serverPublicKey: hex(S),
    clientIdentity: hex(identities(account, S).clientIdentity as Uint8Array),
    keyshareSecret: hex(keyshare.secretKey),
    keyshare: hex(keyshare.publicKey),
    registrationId: hex(registrationId),
    dealing,
    index,
    transportSecret: hex(transport.secretKey),
    transportKey: hex(transport.publicKey),
    limit,
    startMac: hex(started),
    wrappingKey: hex(wrappingKey),
    wrappedShare: hex(wrapped),
    sharePublicKey: hex(publicKey),
    registrationRecord: hex(registrationRecord),
    encryptedBackupKey: hex(encryptedBackupKey),
    finishMac: hex(
      finishMac(keys.finish, started, {
        registrationRecord,
        encryptedBackupKey,
        share: { wrapped, publicKey },
      }),
    ),
  };
}

/** A dealing to five vaults, any three of which evaluate; `registration` is that of the second share. */
export function fleet() {
  const random = randomStream('vectors fleet');
  const [threshold, size] = [3, 5];
  const scalar = () => Fn.fromBytes(deriveKeyPair(random(32)).secretKey);
  const polynomial = Array.from({ length: threshold }, scalar);
  const shares = Array.from({ length: size }, (_, i) =>
    polynomial.reduceRight((sum, a) => Fn.add(Fn.mul(sum, BigInt(i + 1)), a), Fn.ZERO),
  );
  const vaults = Array.from({ length: size }, () => deriveKeyPair(random(32)).publicKey);
  const { tag } = defineFleet({
    threshold,
    vaults: vaults.map((serverPublicKey, i) => ({ url: `https://${i + 1}.example`, serverPublicKey })),
  });
  const dealing = `00000001${tag}${hex(random(8))}`;
  const blindedElement = deriveKeyPair(random(32)).publicKey;
  const evaluations = shares.map((share) => diffieHellman(Fn.toBytes(share), blindedElement));
  const combined = interpolate(
    [2, 4, 5].map((index) => ({ index, element: evaluations[index - 1] as Uint8Array })),
  );
  return {
    threshold,
    serverPublicKeys: vaults.map(hex),
    tag,
    key: hex(Fn.toBytes(polynomial[0] as bigint)),
    shares: shares.map((share) => hex(Fn.toBytes(share))),
    blindedElement: hex(blindedElement),
    evaluations: evaluations.map(hex),
    combined: hex(combined),
    registration: registration(random, Fn.toBytes(shares[1] as bigint), 2, dealing),
  };
}
