import { p256 } from '@noble/curves/nist.js';
import { wrapScalar } from '../../src/keeper/pkcs11/wrapping.js';
import { diffieHellman, finishMac, registrationKeys, xOf } from '../../src/protocol/index.js';

/** What a client registers its share with. Byte lengths: scalar 32, registrationRecord 129. */
export interface ShareToSend {
  readonly scalar: Uint8Array;
  readonly registrationRecord: Uint8Array;
  readonly encryptedBackupKey: Uint8Array;
  /** used instead of the correctly wrapped share */
  readonly wrapped?: Uint8Array;
  /** used instead of the share's own public key, 33 bytes */
  readonly publicKey?: Uint8Array;
}

/**
 * The last message of a share's registration (docs/protocol.md), correctly authenticated, whatever it
 * contains. @param secretKey that of X, 32 bytes @param started the vault's answer to the first message
 */
export function shareFinish(
  secretKey: Uint8Array,
  serverPublicKey: Uint8Array,
  started: { readonly transportKey: Uint8Array; readonly mac: Uint8Array },
  { scalar, registrationRecord, encryptedBackupKey, ...other }: ShareToSend,
) {
  const share = {
    wrapped: wrapScalar(scalar, xOf(diffieHellman(secretKey, started.transportKey))),
    publicKey: p256.getPublicKey(scalar, true),
    ...other,
  };
  const { finish } = registrationKeys(xOf(diffieHellman(secretKey, serverPublicKey)));
  return {
    sharePublicKey: share.publicKey,
    wrappedShare: share.wrapped,
    registrationRecord,
    encryptedBackupKey,
    mac: finishMac(finish, started.mac, { registrationRecord, encryptedBackupKey, share }),
  };
}
