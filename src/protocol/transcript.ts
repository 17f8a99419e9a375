import { SIZES } from './sizes.js';
import { bytes, concat, hash, hkdfExpand, hkdfExtract, mac, prefixed } from './suite.js';

/** Names bound into the key exchange. Empty identities stand for the public keys (RFC 9807, section 4). */
export interface Identities {
  readonly context: Uint8Array;
  readonly clientIdentity?: Uint8Array;
  readonly serverIdentity?: Uint8Array;
}

export interface Transcript extends Identities {
  readonly KE1: Uint8Array;
  /** evaluatedElement ‖ maskingNonce ‖ maskedResponse, 162 bytes */
  readonly credentialResponse: Uint8Array;
  readonly serverNonce: Uint8Array;
  readonly serverKeyshare: Uint8Array;
  readonly clientPublicKey: Uint8Array;
  readonly serverPublicKey: Uint8Array;
}

const deriveSecret = (secret: Uint8Array, label: string, transcriptHash: Uint8Array): Uint8Array => {
  const name = bytes(`OPAQUE-${label}`);
  const info = concat(
    Uint8Array.of(0, SIZES.hash, name.length),
    name,
    Uint8Array.of(transcriptHash.length),
    transcriptHash,
  );
  return hkdfExpand(secret, info);
};

/**
 * The end of 3DH, the same on both sides (RFC 9807, sections 6.4.1 to 6.4.4): MACs and session key, 32 bytes each.
 * @param ikm dh1 ‖ dh2 ‖ dh3, 99 bytes; zeroed here
 */
export function deriveKeys(ikm: Uint8Array, t: Transcript) {
  const preamble = concat(
    bytes('OPAQUEv1-'),
    prefixed(t.context),
    prefixed(t.clientIdentity ?? t.clientPublicKey),
    t.KE1,
    prefixed(t.serverIdentity ?? t.serverPublicKey),
    t.credentialResponse,
    t.serverNonce,
    t.serverKeyshare,
  );
  const transcriptHash = hash(preamble);
  const prk = hkdfExtract(ikm);
  const handshakeSecret = deriveSecret(prk, 'HandshakeSecret', transcriptHash);
  const sessionKey = deriveSecret(prk, 'SessionKey', transcriptHash);
  const serverMacKey = deriveSecret(handshakeSecret, 'ServerMAC', new Uint8Array(0));
  const clientMacKey = deriveSecret(handshakeSecret, 'ClientMAC', new Uint8Array(0));
  const serverMac = mac(serverMacKey, transcriptHash);
  const clientMac = mac(clientMacKey, hash(concat(preamble, serverMac)));
  for (const secret of [ikm, prk, handshakeSecret, serverMacKey, clientMacKey]) secret.fill(0);
  return { serverMac, clientMac, sessionKey };
}
