import {
  createRegistrationRequest,
  EnvelopeRecoveryError,
  equal,
  finalizeRegistration,
  generateKE1,
  generateKE3,
  ServerAuthenticationError,
} from '../protocol/index.js';
import { Connection, fromBase64url, toBase64url } from './connection.js';
import {
  BkvError,
  ExchangeExpired,
  KeyExists,
  VaultError,
  VaultIdentityMismatch,
  WrongPassword,
} from './errors.js';
import { checkKey } from './key.js';
import { preparePassword } from './password.js';
import { openKey, sealKey } from './sealed-key.js';
import { argon2, type StretchPassword, stretchOutput, tryDevice } from './stretching.js';

/** Bound into every key exchange. */
export const CONTEXT = new TextEncoder().encode('backup-key-vault v1');

export interface VaultClientOptions {
  /** where the vault is, such as `https://vault.example` */
  readonly url: string;
  /** the vault's static public key, 33 bytes: from the app's own build or configuration, not from the network */
  readonly serverPublicKey: Uint8Array;
  /** a JWT for the account */
  readonly accessToken: () => string | Promise<string>;
  /** milliseconds for one request; 30,000 unless told */
  readonly timeout?: number;
  /** where Argon2id runs; on the calling thread unless told */
  readonly stretch?: StretchPassword;
}

export interface RegisterOptions {
  /** whether the key that the account may have is given up for this one; not unless told */
  readonly replace?: boolean;
}

export type AccountStatus =
  | { state: 'unregistered' }
  | { state: 'registered'; attemptsRemaining: number; dealings: string[] }
  | { state: 'locked'; attemptsRemaining: 0 };

/** One account at one vault. Works in Node and in browsers. */
export class VaultClient {
  readonly #options: VaultClientOptions;
  readonly #vault: Connection;
  readonly #stretch: StretchPassword;

  /** @throws BkvError `InvalidServerKey`, `InvalidUrl` */
  constructor(options: VaultClientOptions) {
    if (!(options.serverPublicKey instanceof Uint8Array && options.serverPublicKey.length === 33))
      throw new BkvError('InvalidServerKey', 'the pinned public key of a vault has 33 bytes');
    this.#options = options;
    this.#vault = new Connection(options.url, options.accessToken, options.timeout);
    this.#stretch = options.stretch ?? argon2;
  }

  /**
   * Has the vault hold a backup key (32 bytes) under a password.
   * @throws KeyExists when the account has a key, unless `replace` gives it up
   * @throws BkvError `InvalidKey`, and as {@link preparePassword}
   * @throws StretchingUnavailable, VaultIdentityMismatch, VaultError
   */
  async register(
    password: string,
    backupKey: Uint8Array,
    { replace = false }: RegisterOptions = {},
  ): Promise<void> {
    checkKey(backupKey);
    const secret = preparePassword(password);
    const stretch = stretchOutput(this.#stretch);
    try {
      await tryDevice(this.#stretch);
      if (!replace && (await this.status()).state === 'registered') throw new KeyExists();
      const { blind, registrationRequest } = createRegistrationRequest(secret);
      const started = await this.#vault.request('POST', '/v1/registration/start', {
        registrationRequest: toBase64url(registrationRequest),
      });
      const response = fromBase64url(started.registrationResponse);
      if (!equal(response.subarray(33), this.#options.serverPublicKey)) {
        throw new VaultIdentityMismatch('it answered a registration with another static public key');
      }
      const { registrationRecord, exportKey } = await finalizeRegistration(secret, blind, response, stretch, {
        context: CONTEXT,
      });
      blind.fill(0);
      const encrypted = await sealKey(exportKey, backupKey);
      await this.#vault.command('POST', '/v1/registration/finish', {
        registrationId: started.registrationId,
        registrationRecord: toBase64url(registrationRecord),
        encryptedBackupKey: toBase64url(encrypted),
      });
    } finally {
      secret.fill(0);
    }
  }

  /**
   * Gets the backup key (32 bytes) back. A wrong password costs one attempt for good.
   * @throws StretchingUnavailable before any attempt is spent; BkvError as {@link preparePassword}
   * @throws WrongPassword, Locked, ExchangeExpired, VaultIdentityMismatch, VaultError
   */
  async recover(password: string): Promise<Uint8Array> {
    const secret = preparePassword(password);
    const stretch = stretchOutput(this.#stretch);
    try {
      const needed = await tryDevice(this.#stretch);
      const login = generateKE1(secret);
      const started = await this.#vault.request('POST', '/v1/recovery/start', {
        KE1: toBase64url(login.KE1),
      });
      const { KE3, exportKey, sessionKey } = await generateKE3(login, fromBase64url(started.KE2), stretch, {
        context: CONTEXT,
        pinnedServerPublicKey: this.#options.serverPublicKey,
      }).catch(async (error: unknown) => {
        if (error instanceof ServerAuthenticationError) throw new VaultIdentityMismatch(error.message);
        if (!(error instanceof EnvelopeRecoveryError)) throw error;
        // Says that the attempt is over; the vault learns it by itself a little later if this is lost.
        await this.#vault.command('DELETE', `/v1/recovery/${started.recoveryId}`).catch(() => undefined);
        throw new WrongPassword(Number(started.attemptsRemaining));
      });
      sessionKey.fill(0);
      const finished = await this.#vault
        .request('POST', '/v1/recovery/finish', { recoveryId: started.recoveryId, KE3: toBase64url(KE3) })
        .catch((error: unknown) => {
          throw error instanceof VaultError && error.kind === 'unknown-exchange'
            ? new ExchangeExpired(needed)
            : error;
        });
      return await openKey(exportKey, fromBase64url(finished.encryptedBackupKey));
    } finally {
      secret.fill(0);
    }
  }

  /**
   * Puts a new password in place of the old one; the backup key, and so the backup, stays. Cut off, the old one opens.
   * @throws WrongPassword, Locked, VaultIdentityMismatch, VaultError
   */
  async changePassword(oldPassword: string, newPassword: string): Promise<void> {
    preparePassword(newPassword).fill(0);
    const backupKey = await this.recover(oldPassword);
    try {
      await this.register(newPassword, backupKey, { replace: true });
    } finally {
      backupKey.fill(0);
    }
  }

  /** @throws VaultError */
  async status(): Promise<AccountStatus> {
    const status = await this.#vault.request('GET', '/v1/account');
    if (!['unregistered', 'registered', 'locked'].includes(String(status.state)))
      throw new VaultError(200, 'the vault answered without the state of the account');
    return status as AccountStatus;
  }

  /** Makes the account's key unreachable for ever. @throws VaultError */
  async delete(): Promise<void> {
    await this.#vault.command('DELETE', '/v1/account');
  }
}
