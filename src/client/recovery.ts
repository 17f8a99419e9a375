import {
  EnvelopeRecoveryError,
  generateKE1,
  generateKE3,
  identities,
  ServerAuthenticationError,
} from '../protocol/index.js';
import { type Connection, fromBase64url, toBase64url } from './connection.js';
import { ExchangeExpired, isExchangeOver, VaultIdentityMismatch, WrongPassword } from './errors.js';
import type { Registrant } from './registration.js';
import { openKey } from './sealed-key.js';
import { sendUntil } from './sending-again.js';

/**
 * Logs in at one vault.
 * @param secret the prepared password
 * @returns the backup key and the export key that opened it, 32 bytes each
 * @throws WrongPassword, Locked, ExchangeExpired, VaultIdentityMismatch, VaultError
 */
export async function recover(
  vault: Connection,
  { account, serverPublicKey, stretch, needed }: Registrant,
  secret: Uint8Array,
): Promise<{ backupKey: Uint8Array; failedAttempts: number; exportKey: Uint8Array }> {
  const login = generateKE1(secret);
  const until = performance.now() + (await vault.exchangeTime());
  const started = await vault.request('POST', '/v1/recovery/start', { KE1: toBase64url(login.KE1) });
  const { KE3, exportKey, sessionKey } = await generateKE3(login, fromBase64url(started.KE2), stretch, {
    ...identities(account, serverPublicKey),
    pinnedServerPublicKey: serverPublicKey,
  }).catch(async (error: unknown) => {
    if (error instanceof ServerAuthenticationError) throw new VaultIdentityMismatch(error.message);
    if (!(error instanceof EnvelopeRecoveryError)) throw error;
    // Says that the attempt is over. If this message is lost, the vault finds out a little later by itself.
    await vault.command('DELETE', `/v1/recovery/${started.recoveryId}`).catch(() => undefined);
    throw new WrongPassword(Number(started.attemptsRemaining));
  });
  sessionKey.fill(0);
  const message = { recoveryId: started.recoveryId, KE3: toBase64url(KE3) };
  const finished = await sendUntil(until, () => vault.request('POST', '/v1/recovery/finish', message)).catch(
    (error: unknown) => {
      throw isExchangeOver(error) ? new ExchangeExpired(needed) : error;
    },
  );
  return {
    backupKey: await openKey(exportKey.slice(), fromBase64url(finished.encryptedBackupKey)),
    failedAttempts: readFailed(finished.failedAttempts),
    exportKey,
  };
}

/** A vault of an older version does not say. */
const readFailed = (value: unknown): number => (Number.isInteger(value) ? Math.max(0, value as number) : 0);
