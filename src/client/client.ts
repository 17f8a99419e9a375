import {
  createRegistrationRequest,
  EnvelopeRecoveryError,
  equal,
  finalizeRegistration,
  generateKE1,
  generateKE3,
  ServerAuthenticationError,
} from '../opaque/index.js';
import { BkvError, Locked, VaultError, VaultIdentityMismatch, WrongPassword } from './errors.js';
import { preparePassword, stretch } from './password.js';

const CONTEXT = new TextEncoder().encode('backup-key-vault v1');
const KEY_INFO = new TextEncoder().encode('bkv encrypted backup key v1');
const NONCE = 12;

export interface VaultClientOptions {
  /** where the vault is, such as `https://vault.example` */
  readonly url: string;
  /** the vault's static public key, 33 bytes: from the app's own build or configuration, not from the network */
  readonly serverPublicKey: Uint8Array;
  /** a JWT for the account */
  readonly accessToken: () => string | Promise<string>;
  /** milliseconds for one request; 30,000 unless told */
  readonly timeout?: number;
}

export type AccountStatus =
  | { state: 'unregistered' }
  | { state: 'registered'; attemptsRemaining: number }
  | { state: 'locked'; attemptsRemaining: 0 };

const toBase64url = (bytes: Uint8Array): string =>
  btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');

const fromBase64url = (text: unknown): Uint8Array => {
  if (typeof text !== 'string') throw new VaultError(200, 'the vault answered without a field that it owes');
  return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0));
};

async function keyEncryptionKey(exportKey: Uint8Array): Promise<CryptoKey> {
  const base = await crypto.subtle.importKey('raw', exportKey as BufferSource, 'HKDF', false, ['deriveKey']);
  exportKey.fill(0);
  return crypto.subtle.deriveKey(
    { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(0), info: KEY_INFO },
    base,
    { name: 'AES-GCM', length: 256 },
    false,
    ['encrypt', 'decrypt'],
  );
}

/** One account at one vault. Works in Node and in browsers. */
export class VaultClient {
  readonly #options: VaultClientOptions;

  constructor(options: VaultClientOptions) {
    if (options.serverPublicKey.length !== 33)
      throw new BkvError('InvalidServerKey', 'the pinned public key of a vault has 33 bytes');
    this.#options = options;
  }

  /**
   * Has the vault hold a backup key (32 bytes) under a password, in place of what it held for the account.
   * @throws VaultIdentityMismatch, VaultError
   */
  async register(password: string, backupKey: Uint8Array): Promise<void> {
    const secret = preparePassword(password);
    try {
      const { blind, registrationRequest } = createRegistrationRequest(secret);
      const started = await this.#request('POST', '/v1/registration/start', {
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
      const key = await keyEncryptionKey(exportKey);
      const nonce = crypto.getRandomValues(new Uint8Array(NONCE));
      const encrypted = await crypto.subtle.encrypt(
        { name: 'AES-GCM', iv: nonce },
        key,
        backupKey as BufferSource,
      );
      await this.#request('POST', '/v1/registration/finish', {
        registrationId: started.registrationId,
        registrationRecord: toBase64url(registrationRecord),
        encryptedBackupKey: toBase64url(Uint8Array.from([...nonce, ...new Uint8Array(encrypted)])),
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
      const started = await this.#request('POST', '/v1/recovery/start', { KE1: toBase64url(login.KE1) });
      const { KE3, exportKey, sessionKey } = await generateKE3(login, fromBase64url(started.KE2), stretch, {
        context: CONTEXT,
        pinnedServerPublicKey: this.#options.serverPublicKey,
      }).catch(async (error: unknown) => {
        if (error instanceof ServerAuthenticationError) throw new VaultIdentityMismatch(error.message);
        if (!(error instanceof EnvelopeRecoveryError)) throw error;
        // Says that the attempt is over; the vault learns it by itself a little later if this is lost.
        await this.#request('DELETE', `/v1/recovery/${started.recoveryId}`).catch(() => undefined);
        throw new WrongPassword(Number(started.attemptsRemaining));
      });
      sessionKey.fill(0);
      const finished = await this.#request('POST', '/v1/recovery/finish', {
        recoveryId: started.recoveryId,
        KE3: toBase64url(KE3),
      });
      const encrypted = fromBase64url(finished.encryptedBackupKey);
      const key = await keyEncryptionKey(exportKey);
      try {
        const iv = encrypted.subarray(0, NONCE) as BufferSource;
        return new Uint8Array(
          await crypto.subtle.decrypt(
            { name: 'AES-GCM', iv },
            key,
            encrypted.subarray(NONCE) as BufferSource,
          ),
        );
      } catch (error) {
        throw new VaultError(200, 'the vault gave a key that this password did not encrypt', {
          cause: error,
        });
      }
    } finally {
      secret.fill(0);
    }
  }

  /** @throws VaultError */
  async status(): Promise<AccountStatus> {
    return (await this.#request('GET', '/v1/account')) as AccountStatus;
  }

  /** Makes the account's key unreachable for ever. @throws VaultError */
  async delete(): Promise<void> {
    await this.#request('DELETE', '/v1/account');
  }

  async #request(method: string, path: string, body?: object): Promise<Record<string, unknown>> {
    const { url, accessToken, timeout = 30_000 } = this.#options;
    let response: Response;
    try {
      response = await fetch(new URL(path, url), {
        method,
        headers: {
          authorization: `Bearer ${await accessToken()}`,
          ...(body && { 'content-type': 'application/json' }),
        },
        body: body ? JSON.stringify(body) : null,
        redirect: 'error',
        signal: AbortSignal.timeout(timeout),
      });
    } catch (error) {
      throw new VaultError(0, `the vault at ${url} did not answer; check the address and the network`, {
        cause: error,
      });
    }
    if (response.status === 204) return {};
    const answer = (await response.json().catch(() => ({}))) as Record<string, unknown>;
    if (response.ok) return answer;
    if (response.status === 423) throw new Locked();
    if (answer.type === 'urn:bkv:problem:wrong-password')
      throw new WrongPassword(Number(answer.attemptsRemaining));
    throw new VaultError(response.status, String(answer.detail ?? `the vault answered ${response.status}`));
  }
}
