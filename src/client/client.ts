import {
  createRegistrationRequest,
  EnvelopeRecoveryError,
  equal,
  finalizeRegistration,
  generateKE1,
  generateKE3,
  ServerAuthenticationError,
  type Stretch,
} from '../protocol/index.js';
import { Connection, fromBase64url, toBase64url } from './connection.js';
import { BkvError, VaultIdentityMismatch, WrongPassword } from './errors.js';
import { argon2, preparePassword } from './password.js';
import { openKey, sealKey } from './sealed-key.js';

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
  /** Argon2id (3 passes, 64 MiB, 4 lanes, 32 bytes out) where the program has a way of its own, such as a Worker */
  readonly stretch?: typeof argon2;
}

export type AccountStatus =
  | { state: 'unregistered' }
  | { state: 'registered'; attemptsRemaining: number; dealings: string[] }
  | { state: 'locked'; attemptsRemaining: 0 };

/** One account at one vault. Works in Node and in browsers. */
export class VaultClient {
  readonly #options: VaultClientOptions;
  readonly #vault: Connection;
  readonly #stretch: Stretch;

  constructor(options: VaultClientOptions) {
    if (options.serverPublicKey.length !== 33)
      throw new BkvError('InvalidServerKey', 'the pinned public key of a vault has 33 bytes');
    this.#options = options;
    const { stretch: run = argon2 } = options;
    this.#stretch = (oprfOutput) => run(oprfOutput, new Uint8Array(16));
    this.#vault = new Connection(options.url, options.accessToken, options.timeout);
  }

  /**
   * Has the vault hold a backup key (32 bytes) under a password, in place of what it held for the account.
   * @throws VaultIdentityMismatch, VaultError
   */
  async register(password: string, backupKey: Uint8Array): Promise<void> {
    const secret = preparePassword(password);
    try {
      const { blind, registrationRequest } = createRegistrationRequest(secret);
      const started = await this.#vault.request('POST', '/v1/registration/start', {
        registrationRequest: toBase64url(registrationRequest),
      });
      const response = fromBase64url(started.registrationResponse);
      if (!equal(response.subarray(33), this.#options.serverPublicKey)) {
        throw new VaultIdentityMismatch('it answered a registration with another static public key');
      }
      const { registrationRecord, exportKey } = await finalizeRegistration(
        secret,
        blind,
        response,
        this.#stretch,
        {
          context: CONTEXT,
        },
      );
      blind.fill(0);
      const encrypted = await sealKey(exportKey, backupKey);
      await this.#vault.request('POST', '/v1/registration/finish', {
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
   * @throws WrongPassword, Locked, VaultIdentityMismatch, VaultError
   */
  async recover(password: string): Promise<Uint8Array> {
    const secret = preparePassword(password);
    try {
      const login = generateKE1(secret);
      const started = await this.#vault.request('POST', '/v1/recovery/start', {
        KE1: toBase64url(login.KE1),
      });
      const { KE3, exportKey, sessionKey } = await generateKE3(
        login,
        fromBase64url(started.KE2),
        this.#stretch,
        {
          context: CONTEXT,
          pinnedServerPublicKey: this.#options.serverPublicKey,
        },
      ).catch(async (error: unknown) => {
        if (error instanceof ServerAuthenticationError) throw new VaultIdentityMismatch(error.message);
        if (!(error instanceof EnvelopeRecoveryError)) throw error;
        // Says that the attempt is over; the vault learns it by itself a little later if this is lost.
        await this.#vault.request('DELETE', `/v1/recovery/${started.recoveryId}`).catch(() => undefined);
        throw new WrongPassword(Number(started.attemptsRemaining));
      });
      sessionKey.fill(0);
      const finished = await this.#vault.request('POST', '/v1/recovery/finish', {
        recoveryId: started.recoveryId,
        KE3: toBase64url(KE3),
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
      await this.register(newPassword, backupKey);
    } finally {
      backupKey.fill(0);
    }
  }

  /** @throws VaultError */
  async status(): Promise<AccountStatus> {
    return (await this.#vault.request('GET', '/v1/account')) as AccountStatus;
  }

  /** Makes the account's key unreachable for ever. @throws VaultError */
  async delete(): Promise<void> {
    await this.#vault.request('DELETE', '/v1/account');
  }
}
