import {
  type ClientLogin,
  EnvelopeRecoveryError,
  forgetLogin,
  generateKE1,
  generateKE3,
  identities,
  ServerAuthenticationError,
  toBase64url,
} from '../protocol/index.js';
import { type Evaluated, parseRecovered, parseRecovery, parseRecoveryId } from './answers.js';
import type { Connection } from './connection.js';
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
  registrant: Registrant,
  secret: Uint8Array,
): Promise<{ backupKey: Uint8Array; failedAttempts: number; exportKey: Uint8Array }> {
  const until = performance.now() + (await vault.exchangeTime());
  const { recoveryId, KE3, exportKey } = await start(vault, registrant, secret);
  const message = { recoveryId, KE3: toBase64url(KE3) };
  try {
    const finished = await sendUntil(until, () => vault.request('POST', '/v1/recovery/finish', message));
    const { encryptedBackupKey, failedAttempts } = parseRecovered(finished);
    const backupKey = await openKey(exportKey.slice(), encryptedBackupKey);
    return { backupKey, failedAttempts, exportKey };
  } catch (error) {
    exportKey.fill(0);
    throw isExchangeOver(error) ? new ExchangeExpired(registrant.needed) : error;
  }
}

interface Started {
  readonly recoveryId: string;
  readonly KE3: Uint8Array;
  readonly exportKey: Uint8Array;
}

/** Has the vault evaluate the password, which costs an attempt, and opens the envelope. */
async function start(vault: Connection, registrant: Registrant, secret: Uint8Array): Promise<Started> {
  const login = generateKE1(secret);
  let recoveryId: string | undefined;
  try {
    const answer = await vault.request('POST', '/v1/recovery/start', { KE1: toBase64url(login.KE1) });
    recoveryId = parseRecoveryId(answer);
    return { recoveryId, ...(await open(login, parseRecovery(answer), registrant)) };
  } catch (error) {
    // Says that the attempt is over. If this message is lost, the vault finds out a little later by itself.
    if (recoveryId !== undefined && !(error instanceof VaultIdentityMismatch))
      await vault.command('DELETE', `/v1/recovery/${recoveryId}`).catch(() => undefined);
    throw error;
  } finally {
    forgetLogin(login);
  }
}

/** @throws WrongPassword, VaultIdentityMismatch, and what stretching throws */
async function open(
  login: ClientLogin,
  { KE2, attemptsRemaining }: Evaluated,
  { account, serverPublicKey, stretch }: Registrant,
): Promise<Omit<Started, 'recoveryId'>> {
  try {
    const { KE3, exportKey, sessionKey } = await generateKE3(login, KE2, stretch, {
      ...identities(account, serverPublicKey),
      pinnedServerPublicKey: serverPublicKey,
    });
    sessionKey.fill(0);
    return { KE3, exportKey };
  } catch (error) {
    if (error instanceof ServerAuthenticationError) throw new VaultIdentityMismatch(error.message);
    throw error instanceof EnvelopeRecoveryError ? new WrongPassword(attemptsRemaining) : error;
  }
}
