import { equal, isElement } from '../protocol/index.js';
import { parseAccount, parseAttempts } from './answers.js';
import { Connection } from './connection.js';
import { BkvError, KeyExists, RegistrationUnproven } from './errors.js';
import { checkKey } from './key.js';
import { preparePassword } from './password.js';
import { recover } from './recovery.js';
import { type Registrant, register } from './registration.js';
import { StretchedOnce } from './stretched-once.js';
import { argon2, type StretchPassword, stretchOutput, tryDevice } from './stretching.js';

/** Which vault, and whose account. */
export interface VaultClientOptions {
  /** where the vault is, such as `https://vault.example` */
  readonly url: string;
  /** the vault's static public key, 33 bytes: from the app's own build or configuration, not from the network */
  readonly serverPublicKey: Uint8Array;
  /**
   * the account's id, as the app knows it; the same as the access token's `sub`. What is registered opens for
   * it alone
   */
  readonly account: string;
  /** a JWT for the account at this vault: its `aud` is `bkv:` and the vault's public key, base64url */
  readonly accessToken: () => string | Promise<string>;
  /** milliseconds for one request; 30,000 by default */
  readonly timeout?: number;
  /** where Argon2id runs; by default on the calling thread */
  readonly stretch?: StretchPassword;
  /** whether `http:` is allowed to addresses other than this device's own: for trials behind a tunnel */
  readonly allowPlainHttp?: boolean;
}

/** How a key is registered. */
export interface RegisterOptions {
  /** whether the key that the account may have is given up for this one; by default it is not */
  readonly replace?: boolean;
}

/** What a recovery returns. */
export interface Recovery {
  /** 32 bytes */
  readonly backupKey: Uint8Array;
  /**
   * Attempts that failed since the password last opened the key: wrong passwords, and recoveries that were
   * cut off. Tell the user: if these were not their own, somebody is guessing.
   */
  readonly failedAttempts: number;
}

/** What a vault holds for an account. */
export type AccountStatus =
  | { state: 'unregistered' }
  | { state: 'registered'; attemptsRemaining: number; dealings: string[] }
  | { state: 'locked'; attemptsRemaining: 0 };

/** One account at one vault. Works in Node and in browsers. */
export class VaultClient {
  readonly #options: VaultClientOptions;
  readonly #vault: Connection;
  readonly #stretch: StretchPassword;

  /** @throws BkvError `InvalidServerKey`, `InvalidUrl`, `PlainHttp` */
  constructor(options: VaultClientOptions) {
    if (!(options.serverPublicKey instanceof Uint8Array && isElement(options.serverPublicKey)))
      throw new BkvError(
        'InvalidServerKey',
        "what is pinned is not a vault's public key, which has 33 bytes; take it again from where the vault's operator shows it",
      );
    this.#options = options;
    this.#vault = new Connection(options.url, options);
    this.#stretch = options.stretch ?? argon2;
  }

  /**
   * Has the vault hold a backup key (32 bytes) under a password. At the end the key is recovered once, to
   * show that what was registered opens.
   * @throws KeyExists when the account has a key, unless `replace` gives it up
   * @throws BkvError `InvalidKey`, and as {@link preparePassword}
   * @throws StretchingUnavailable, DeviceTooSlow, VaultIdentityMismatch, RegistrationUnproven, VaultError
   */
  async register(
    password: string,
    backupKey: Uint8Array,
    { replace = false }: RegisterOptions = {},
  ): Promise<void> {
    checkKey(backupKey);
    await this.#with(password, async (registrant, secret) => {
      // Refused here before the work is done. Afterwards the vault decides by itself.
      if (!replace && (await this.status()).state === 'registered') throw new KeyExists();
      const exportKey = await register(this.#vault, registrant, secret, backupKey, replace);
      try {
        const opened = await recover(this.#vault, registrant, secret).catch((cause: unknown) => {
          throw new RegistrationUnproven({ cause });
        });
        const same = equal(opened.exportKey, exportKey) && equal(opened.backupKey, backupKey);
        for (const key of [opened.exportKey, opened.backupKey]) key.fill(0);
        if (!same) throw new RegistrationUnproven();
      } finally {
        exportKey.fill(0);
      }
    });
  }

  /**
   * Gets the backup key back. A wrong password costs one attempt for good.
   * @throws StretchingUnavailable, DeviceTooSlow before any attempt is spent; BkvError as {@link preparePassword}
   * @throws WrongPassword, Locked, ExchangeExpired, VaultIdentityMismatch, VaultError
   */
  async recover(password: string): Promise<Recovery> {
    return this.#with(password, async (registrant, secret) => {
      const { exportKey, ...recovery } = await recover(this.#vault, registrant, secret);
      exportKey.fill(0);
      return recovery;
    });
  }

  /**
   * Puts a new password in place of the old one; the backup key, and so the backup, stays. If this is cut
   * off, the old password still opens.
   * @returns `failedAttempts` at the old password, as {@link recover} does
   * @throws WrongPassword, Locked, VaultIdentityMismatch, VaultError
   */
  async changePassword(oldPassword: string, newPassword: string): Promise<Pick<Recovery, 'failedAttempts'>> {
    preparePassword(newPassword).fill(0);
    const { backupKey, failedAttempts } = await this.recover(oldPassword);
    try {
      await this.register(newPassword, backupKey, { replace: true });
      return { failedAttempts };
    } finally {
      backupKey.fill(0);
    }
  }

  /** Whether the vault holds a key, and how many wrong passwords are left. @throws VaultError */
  async status(): Promise<AccountStatus> {
    const answer = await this.#vault.request('GET', '/v1/account');
    const { state, dealings } = parseAccount(answer);
    if (state === 'unregistered') return { state };
    if (state === 'locked') return { state, attemptsRemaining: 0 };
    // A key of the vault's own belongs to no dealing.
    const names = dealings.map(({ dealing }) => dealing).filter(Boolean);
    return { state, attemptsRemaining: parseAttempts(answer), dealings: names };
  }

  /** Makes the account's key unreachable for ever. @throws VaultError */
  async delete(): Promise<void> {
    await this.#vault.command('DELETE', '/v1/account');
  }

  /**
   * Does what takes a password, once the device was tried, and forgets the password then.
   * @throws StretchingUnavailable, DeviceTooSlow
   */
  async #with<T>(
    password: string,
    work: (registrant: Registrant, secret: Uint8Array) => Promise<T>,
  ): Promise<T> {
    const { account, serverPublicKey } = this.#options;
    const secret = preparePassword(password);
    const stretched = new StretchedOnce(stretchOutput(this.#stretch));
    try {
      const needed = await tryDevice(this.#stretch);
      await this.#vault.expectTime(needed);
      return await work({ account, serverPublicKey, stretch: stretched.stretch, needed }, secret);
    } finally {
      secret.fill(0);
      stretched.wipe();
    }
  }
}
