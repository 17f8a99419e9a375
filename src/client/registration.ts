import {
  createRegistrationRequest,
  deriveKeyPair,
  diffieHellman,
  equal,
  finalizeRegistration,
  finishMac,
  forget,
  identities,
  registrationKeys,
  type Stretch,
  startMac,
  xOf,
} from '../protocol/index.js';
import { type Connection, fromBase64url, toBase64url } from './connection.js';
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
  const share = deriveKeyPair(crypto.getRandomValues(new Uint8Array(32)));
  const keys = registrationKeys(xOf(diffieHellman(share.secretKey, serverPublicKey)));
  share.secretKey.fill(0);
  try {
    const until = performance.now() + (await vault.exchangeTime());
    const started = await vault.request('POST', '/v1/registration/start', {
      registrationRequest: toBase64url(registrationRequest),
      keyshare: toBase64url(share.publicKey),
    });
    const response = fromBase64url(started.registrationResponse);
    const expected = startMac(keys.start, {
      serverPublicKey,
      keyshare: share.publicKey,
      account,
      registrationId: fromBase64url(started.registrationId),
      blindedElement: registrationRequest,
      evaluatedElement: response.subarray(0, 33),
      transportKey: new Uint8Array(0),
      limit: Number(started.limit),
    });
    if (
      !equal(response.subarray(33), serverPublicKey) ||
      typeof started.mac !== 'string' ||
      !equal(fromBase64url(started.mac), expected)
    )
      throw new VaultIdentityMismatch('it could not prove that the answer to this registration is its own');
    const { registrationRecord, exportKey } = await finalizeRegistration(
      secret,
      blind,
      response,
      stretch,
      identities(account, serverPublicKey),
    );
    const encryptedBackupKey = await sealKey(exportKey.slice(), backupKey);
    const mac = finishMac(keys.finish, expected, { registrationRecord, encryptedBackupKey, replace });
    const message = {
      registrationId: started.registrationId,
      registrationRecord: toBase64url(registrationRecord),
      encryptedBackupKey: toBase64url(encryptedBackupKey),
      ...(replace && { replace }),
      mac: toBase64url(mac),
    };
    await sendUntil(until, () => vault.command('POST', '/v1/registration/finish', message));
    return exportKey;
  } finally {
    blind.fill(0);
    forget(keys);
  }
}
