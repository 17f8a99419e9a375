import {
  createRegistrationRequest,
  equal,
  finalizeRegistration,
  finishMac,
  forget,
  identities,
  newKeyPair,
  registrationKeys,
  SIZES,
  type Stretch,
  sharedX,
  startMac,
  toBase64url,
} from '../protocol/index.js';
import { bytes, parseRegistration } from './answers.js';
import type { Connection } from './connection.js';
import { VaultIdentityMismatch } from './errors.js';
import { sealKey } from './sealed-key.js';
import { sendUntil } from './sending-again.js';

/** Whose registration it is, and at which vault. */
export interface Registrant {
  /** the account as the app knows it */
  readonly account: string;
  /** 33 bytes, pinned */
  readonly serverPublicKey: Uint8Array;
  readonly stretch: Stretch;
  /** milliseconds that this device takes to stretch */
  readonly needed: number;
}

/**
 * Registers at one vault (docs/protocol.md): nothing that depends on the stretched password leaves before the
 * vault has proven, with its static key, that the evaluation is its own.
 * @param secret the prepared password @param backupKey 32 bytes
 * @param replace whether the key that the account may have is given up for this one
 * @returns the export key, 32 bytes, which a login must reproduce
 * @throws KeyExists, VaultIdentityMismatch, VaultError
 */
export async function register(
  vault: Connection,
  { account, serverPublicKey, stretch }: Registrant,
  secret: Uint8Array,
  backupKey: Uint8Array,
  replace: boolean,
): Promise<Uint8Array> {
  const { blind, registrationRequest } = createRegistrationRequest(secret);
  const share = newKeyPair();
  const keys = registrationKeys(sharedX(share.secretKey, serverPublicKey));
  share.secretKey.fill(0);
  let exportKey: Uint8Array | undefined;
  try {
    const until = performance.now() + (await vault.exchangeTime());
    const answer = await vault.request('POST', '/v1/registration/start', {
      registrationRequest: toBase64url(registrationRequest),
      keyshare: toBase64url(share.publicKey),
    });
    const started = parseRegistration(answer);
    const { registrationId, registrationResponse } = started;
    const expected = startMac(keys.start, {
      serverPublicKey,
      keyshare: share.publicKey,
      account,
      registrationId: bytes('registrationId', registrationId, 16),
      blindedElement: registrationRequest,
      evaluatedElement: registrationResponse.subarray(0, SIZES.element),
      transportKey: new Uint8Array(0),
      limit: started.limit,
    });
    if (
      !equal(registrationResponse.subarray(SIZES.element), serverPublicKey) ||
      !started.mac ||
      !equal(started.mac, expected)
    )
      throw new VaultIdentityMismatch('it could not prove that the answer to this registration is its own');
    const made = await finalizeRegistration(
      secret,
      blind,
      registrationResponse,
      stretch,
      identities(account, serverPublicKey),
    );
    const { registrationRecord } = made;
    exportKey = made.exportKey;
    const encryptedBackupKey = await sealKey(exportKey.slice(), backupKey);
    const mac = finishMac(keys.finish, expected, { registrationRecord, encryptedBackupKey, replace });
    const message = {
      registrationId,
      registrationRecord: toBase64url(registrationRecord),
      encryptedBackupKey: toBase64url(encryptedBackupKey),
      ...(replace && { replace }),
      mac: toBase64url(mac),
    };
    await sendUntil(until, () => vault.command('POST', '/v1/registration/finish', message));
    return exportKey;
  } catch (error) {
    exportKey?.fill(0);
    throw error;
  } finally {
    blind.fill(0);
    forget(keys);
  }
}
