import { SIZES } from './sizes.js';
import { bytes, concat, hkdfExpand, split, xor } from './suite.js';
import { deriveKeys, type Identities } from './transcript.js';

/** What a client uploads at registration (RFC 9807, section 5.1): clientPublicKey 33, maskingKey 32, envelope 64. */
export function parseRegistrationRecord(record: Uint8Array) {
  const [clientPublicKey, maskingKey, envelope] = split(record, [SIZES.element, SIZES.hash, SIZES.envelope]);
  return { clientPublicKey, maskingKey, envelope };
}

/** The client's first message (RFC 9807, section 6.1), 98 bytes: its elements are not checked to be points here. */
export function parseKE1(KE1: Uint8Array) {
  const [blindedElement, clientNonce, clientKeyshare] = split(KE1, [
    SIZES.element,
    SIZES.nonce,
    SIZES.element,
  ]);
  return { blindedElement, clientNonce, clientKeyshare };
}

export interface KE2Input extends Identities {
  readonly KE1: Uint8Array;
  /** registration record, 129 bytes */
  readonly record: Uint8Array;
  readonly serverPublicKey: Uint8Array;
  /** k·blindedElement, from the token */
  readonly evaluatedElement: Uint8Array;
  readonly maskingNonce: Uint8Array;
  readonly serverNonce: Uint8Array;
  readonly serverKeyshare: Uint8Array;
  /** serverKeyshare's secret · clientKeyshare */
  readonly dh1: Uint8Array;
  /** static key · clientKeyshare, from the token */
  readonly dh2: Uint8Array;
  /** serverKeyshare's secret · clientPublicKey */
  readonly dh3: Uint8Array;
}

/**
 * GenerateKE2 (RFC 9807, section 6.2.2) with every scalar multiplication done beforehand by whoever holds the keys.
 * @returns KE2 (259 bytes), the KE3 that proves the password (32 bytes), and the session key (32 bytes)
 */
export function generateKE2(input: KE2Input): {
  KE2: Uint8Array;
  expectedKE3: Uint8Array;
  sessionKey: Uint8Array;
} {
  const { clientPublicKey, maskingKey, envelope } = parseRegistrationRecord(input.record);
  const pad = hkdfExpand(
    maskingKey,
    concat(input.maskingNonce, bytes('CredentialResponsePad')),
    SIZES.element + SIZES.envelope,
  );
  const maskedResponse = xor(pad, concat(input.serverPublicKey, envelope));
  const credentialResponse = concat(input.evaluatedElement, input.maskingNonce, maskedResponse);
  const { serverMac, clientMac, sessionKey } = deriveKeys(concat(input.dh1, input.dh2, input.dh3), {
    ...input,
    credentialResponse,
    clientPublicKey,
  });
  return {
    KE2: concat(credentialResponse, input.serverNonce, input.serverKeyshare, serverMac),
    expectedKE3: clientMac,
    sessionKey,
  };
}
