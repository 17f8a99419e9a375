import { bytes, concat } from './suite.js';
import type { Identities } from './transcript.js';

const VERSION = bytes('bkv2\0');

/**
 * What a registration and each login bind besides the keys (RFC 9807, section 4): the account and the vault,
 * under the version of the wire protocol. The context is empty, as for plain RFC 9807 clients.
 * @param account as the app and the access token's `sub` name it, UTF-8, 1 to 256 characters
 * @param serverPublicKey the vault's, 33 bytes
 */
export const identities = (account: string, serverPublicKey: Uint8Array): Identities => ({
  context: PLAIN.context,
  clientIdentity: concat(VERSION, bytes(account)),
  serverIdentity: concat(VERSION, serverPublicKey),
});

/** The identities of a plain RFC 9807 client: the public keys stand for both. */
export const PLAIN: Identities = { context: new Uint8Array(0) };
