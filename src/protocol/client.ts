import { SIZES } from './sizes.js';
import {
  bytes,
  concat,
  deriveKeyPair,
  diffieHellman,
  equal,
  hkdfExpand,
  hkdfExtract,
  mac,
  newKeyPair,
  oprf,
  prefixed,
  type RandomBytes,
  randomBytes,
  split,
  xor,
} from './suite.js';
import { deriveKeys, type Identities } from './transcript.js';

/** Key stretching (RFC 9807, section 7): 32 bytes of OPRF output to 32 bytes. */
export type Stretch = (oprfOutput: Uint8Array) => Promise<Uint8Array>;

/** The envelope did not open: the password is wrong, or the account is unknown; the two look the same. */
export class EnvelopeRecoveryError extends Error {
  override name = 'EnvelopeRecoveryError';
}

/** KE2 is not from the server whose public key is pinned. */
export class ServerAuthenticationError extends Error {
  override name = 'ServerAuthenticationError';
}

/**
 * The password randomized by the OPRF and stretched (RFC 9807, sections 5.2.3 and 6.3.3), 32 bytes: every
 * evaluation of the password under one key gives the same result. @param evaluated 33 bytes
 */
export async function randomizePassword(
  password: Uint8Array,
  blind: Uint8Array,
  evaluated: Uint8Array,
  stretch: Stretch,
): Promise<Uint8Array> {
  const output = oprf.finalize(password, blind, evaluated);
  try {
    const stretched = await stretch(output);
    const ikm = concat(output, stretched);
    const randomizedPassword = hkdfExtract(ikm);
    for (const secret of [stretched, ikm]) secret.fill(0);
    return randomizedPassword;
  } finally {
    output.fill(0);
  }
}

const openEnvelope = (
  randomizedPassword: Uint8Array,
  envelopeNonce: Uint8Array,
  serverPublicKey: Uint8Array,
  { clientIdentity, serverIdentity }: Identities,
) => {
  const derive = (label: string) => hkdfExpand(randomizedPassword, concat(envelopeNonce, bytes(label)));
  const authKey = derive('AuthKey');
  const seed = derive('PrivateKey');
  const { secretKey, publicKey } = deriveKeyPair(seed);
  const cleartextCredentials = concat(
    serverPublicKey,
    prefixed(serverIdentity ?? serverPublicKey),
    prefixed(clientIdentity ?? publicKey),
  );
  const authTag = mac(authKey, concat(envelopeNonce, cleartextCredentials));
  authKey.fill(0);
  seed.fill(0);
  return { clientPrivateKey: secretKey, clientPublicKey: publicKey, exportKey: derive('ExportKey'), authTag };
};

/** CreateRegistrationRequest (RFC 9807, section 5.2.1). @returns the message (33 bytes) and the blind to keep (32) */
export function createRegistrationRequest(password: Uint8Array, random: RandomBytes = randomBytes) {
  const { blind, blinded } = oprf.blind(password, random);
  return { blind, registrationRequest: blinded as Uint8Array };
}

/**
 * FinalizeRegistrationRequest (RFC 9807, section 5.2.3).
 * @param registrationResponse evaluatedElement ‖ serverPublicKey, 66 bytes
 * @returns the record to upload (129 bytes) and the export key (32 bytes) that nobody else knows
 */
export async function finalizeRegistration(
  password: Uint8Array,
  blind: Uint8Array,
  registrationResponse: Uint8Array,
  stretch: Stretch,
  identities: Identities,
  random: RandomBytes = randomBytes,
) {
  const [evaluated, serverPublicKey] = split(registrationResponse, [SIZES.element, SIZES.element]);
  const randomizedPassword = await randomizePassword(password, blind, evaluated, stretch);
  try {
    return { ...createRecord(randomizedPassword, serverPublicKey, identities, random), serverPublicKey };
  } finally {
    randomizedPassword.fill(0);
  }
}

/**
 * The record of a registration (Store of RFC 9807, section 4.1.2) at one server.
 * @param randomizedPassword 32 bytes @param serverPublicKey 33 bytes
 * @returns the record to upload (129 bytes) and the export key (32 bytes) that nobody else knows
 */
export function createRecord(
  randomizedPassword: Uint8Array,
  serverPublicKey: Uint8Array,
  identities: Identities,
  random: RandomBytes = randomBytes,
): { registrationRecord: Uint8Array; exportKey: Uint8Array } {
  const envelopeNonce = random(SIZES.nonce);
  const maskingKey = hkdfExpand(randomizedPassword, bytes('MaskingKey'));
  const opened = openEnvelope(randomizedPassword, envelopeNonce, serverPublicKey, identities);
  opened.clientPrivateKey.fill(0);
  return {
    registrationRecord: concat(opened.clientPublicKey, maskingKey, envelopeNonce, opened.authTag),
    exportKey: opened.exportKey,
  };
}

export interface ClientLogin {
  readonly password: Uint8Array;
  readonly blind: Uint8Array;
  readonly secretKey: Uint8Array;
  readonly KE1: Uint8Array;
}

/** GenerateKE1 (RFC 9807, section 6.2.1). @returns KE1 (98 bytes) and the state that {@link generateKE3} takes */
export function generateKE1(
  password: Uint8Array,
  random: { blind?: RandomBytes; nonce?: RandomBytes; seed?: RandomBytes } = {},
): ClientLogin {
  const { blind, blinded } = oprf.blind(password, random.blind ?? randomBytes);
  return { password, blind, ...createKE1(blinded, random) };
}

/** A KE1 (98 bytes) with an element that is blinded already (33 bytes) and a fresh key share. */
export function createKE1(
  blindedElement: Uint8Array,
  random: { nonce?: RandomBytes; seed?: RandomBytes } = {},
): Pick<ClientLogin, 'secretKey' | 'KE1'> {
  const clientNonce = (random.nonce ?? randomBytes)(SIZES.nonce);
  const { secretKey, publicKey } = newKeyPair(random.seed);
  return { secretKey, KE1: concat(blindedElement, clientNonce, publicKey) };
}

/** Zeroes the secrets of a login that has ended; the password is its owner's to zero. */
export function forgetLogin({ blind, secretKey }: Pick<ClientLogin, 'blind' | 'secretKey'>): void {
  blind.fill(0);
  secretKey.fill(0);
}

/**
 * GenerateKE3 (RFC 9807, section 6.2.3). The state is zeroed, also when this fails.
 * @returns KE3 (32 bytes), the session key (32) and the export key (32)
 * @throws EnvelopeRecoveryError, ServerAuthenticationError
 */
export async function generateKE3(
  login: ClientLogin,
  KE2: Uint8Array,
  stretch: Stretch,
  identities: Identities & { readonly pinnedServerPublicKey?: Uint8Array },
) {
  let randomizedPassword: Uint8Array | undefined;
  try {
    const [evaluated] = split(KE2, [SIZES.element, SIZES.KE2 - SIZES.element]);
    randomizedPassword = await randomizePassword(login.password, login.blind, evaluated, stretch);
    return finishLogin(login, KE2, randomizedPassword, identities);
  } finally {
    forgetLogin(login);
    randomizedPassword?.fill(0);
  }
}

/**
 * The part of {@link generateKE3} that follows the OPRF. The key share's secret is zeroed, also when this
 * fails.
 * @param randomizedPassword 32 bytes
 * @throws EnvelopeRecoveryError, ServerAuthenticationError; RangeError for a KE2 of another length, and what
 * the curve throws for one without points
 */
export function finishLogin(
  login: Pick<ClientLogin, 'secretKey' | 'KE1'>,
  KE2: Uint8Array,
  randomizedPassword: Uint8Array,
  identities: Identities & { readonly pinnedServerPublicKey?: Uint8Array },
): { KE3: Uint8Array; sessionKey: Uint8Array; exportKey: Uint8Array } {
  const secrets = [login.secretKey];
  try {
    const [, maskingNonce, maskedResponse, serverNonce, serverKeyshare, serverMac] = split(KE2, [
      SIZES.element,
      SIZES.nonce,
      SIZES.element + SIZES.envelope,
      SIZES.nonce,
      SIZES.element,
      SIZES.mac,
    ]);
    const [serverPublicKey, envelopeNonce, authTag] = unmask(
      randomizedPassword,
      maskingNonce,
      maskedResponse,
    );
    const opened = openEnvelope(randomizedPassword, envelopeNonce, serverPublicKey, identities);
    const { clientPrivateKey, exportKey } = opened;
    secrets.push(clientPrivateKey, exportKey);
    if (!equal(opened.authTag, authTag)) throw new EnvelopeRecoveryError('wrong password');
    const pinned = identities.pinnedServerPublicKey;
    if (pinned && !equal(pinned, serverPublicKey)) {
      throw new ServerAuthenticationError(
        'the account was registered at a vault with another static public key',
      );
    }
    const shared = [
      diffieHellman(login.secretKey, serverKeyshare),
      diffieHellman(login.secretKey, serverPublicKey),
      diffieHellman(clientPrivateKey, serverKeyshare),
    ];
    secrets.push(...shared);
    const keys = deriveKeys(concat(...shared), {
      ...identities,
      KE1: login.KE1,
      credentialResponse: KE2.subarray(0, 162),
      serverNonce,
      serverKeyshare,
      clientPublicKey: opened.clientPublicKey,
      serverPublicKey,
    });
    secrets.push(keys.clientMac, keys.sessionKey);
    if (!equal(keys.serverMac, serverMac))
      throw new ServerAuthenticationError('the vault could not prove that it holds its static key');
    return {
      KE3: keys.clientMac.slice(),
      sessionKey: keys.sessionKey.slice(),
      exportKey: exportKey.slice(),
    };
  } finally {
    for (const secret of secrets) secret.fill(0);
  }
}

/** The server's public key (33 bytes) and the envelope (nonce and tag, 32 bytes each) in a masked response. */
function unmask(randomizedPassword: Uint8Array, maskingNonce: Uint8Array, maskedResponse: Uint8Array) {
  const maskingKey = hkdfExpand(randomizedPassword, bytes('MaskingKey'));
  const pad = hkdfExpand(
    maskingKey,
    concat(maskingNonce, bytes('CredentialResponsePad')),
    SIZES.element + SIZES.envelope,
  );
  const unmasked = xor(pad, maskedResponse);
  for (const secret of [maskingKey, pad]) secret.fill(0);
  return split(unmasked, [SIZES.element, SIZES.nonce, SIZES.mac]);
}
