import type { Opener } from '../backup/index.js';
import { type AccountStatus, type StretchPassword, VaultClient, WrongPassword } from '../client/index.js';
import { parseBase64url } from '../protocol/index.js';
import { withStretch } from './stretching.js';
import { Problem, texts } from './words.js';

/** Milliseconds for one request. */
const TIMEOUT = 30_000;

/**
 * Who is signed in, and what opened the backup that was last made or opened here. A messenger's own program
 * would have these.
 */
class Account {
  name = '';
  /**
   * tries that failed before the password was right, without those of the user at this page; to be reported
   */
  guesses = 0;
  #mistyped = 0;
  #opener: Opener | undefined;

  /** while the page is open */
  get opener(): Opener | undefined {
    return this.#opener;
  }

  set opener(opener: Opener | undefined) {
    if (this.#opener?.secret !== opener?.secret) this.#opener?.secret.fill(0);
    this.#opener = opener;
  }

  signIn(name: string): void {
    if (name !== this.name) {
      this.opener = undefined;
      this.#mistyped = 0;
    }
    this.name = name;
  }

  async status(): Promise<AccountStatus> {
    return (await this.#vault()).status();
  }

  /** @throws WrongPassword, Locked, VaultError, Problem */
  async recover(password: string): Promise<Uint8Array> {
    try {
      const { backupKey, failedAttempts } = await withStretch(async (stretch) =>
        (await this.#vault(stretch)).recover(password),
      );
      this.guesses = Math.max(this.guesses, failedAttempts - this.#mistyped);
      this.#mistyped = 0;
      return backupKey;
    } catch (error) {
      if (error instanceof WrongPassword) this.#mistyped++;
      throw error;
    }
  }

  /**
   * Has the vault hold a key under a password.
   * @param replace whether the key that the vault holds may be lost for this one
   * @throws KeyExists, VaultError, Problem
   */
  register(password: string, key: Uint8Array, replace: boolean): Promise<void> {
    return withStretch(async (stretch) => (await this.#vault(stretch)).register(password, key, { replace }));
  }

  async #vault(stretch?: StretchPassword): Promise<VaultClient> {
    const body = this.name;
    const { serverPublicKey } = await this.#config();
    return new VaultClient({
      account: this.name,
      url: location.origin,
      serverPublicKey: parseBase64url(serverPublicKey) as Uint8Array,
      accessToken: async () =>
        (await fetch('demo/login', { method: 'POST', body, signal: AbortSignal.timeout(TIMEOUT) })).text(),
      ...(stretch && { stretch }),
    });
  }

  /** The vault's public key, which a messenger's own program has built in. */
  async #config(): Promise<{ serverPublicKey: string }> {
    try {
      return await (await fetch('demo/config', { signal: AbortSignal.timeout(TIMEOUT) })).json();
    } catch (error) {
      throw new Problem(texts.noAnswer, { cause: error });
    }
  }
}

export const account = new Account();
