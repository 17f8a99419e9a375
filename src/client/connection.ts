import { audienceOf, equal, toBase64url } from '../protocol/index.js';
import { isForAnother } from './access.js';
import { type Identity, type Json, parseIdentity } from './answers.js';
import {
  AccessTokenForAnother,
  AccessTokenUnavailable,
  DeviceTooSlow,
  VaultIdentityMismatch,
} from './errors.js';
import { Transport, type TransportOptions } from './transport.js';

export interface ConnectionOptions extends TransportOptions {
  /** 33 bytes, pinned */
  readonly serverPublicKey: Uint8Array;
  readonly accessToken: () => string | Promise<string>;
}

/** Requests to one vault, for one account. */
export class Connection {
  readonly #transport: Transport;
  readonly #options: ConnectionOptions;
  #identity: Promise<Identity> | undefined;

  /** @throws BkvError `InvalidUrl`, `PlainHttp` */
  constructor(url: string, options: ConnectionOptions) {
    this.#transport = new Transport(url, options);
    this.#options = options;
  }

  /** Asks the vault who it is, without an access token. @throws VaultIdentityMismatch, VaultError */
  identify(): Promise<Identity> {
    const identity = this.#identify();
    this.#identity = identity;
    identity.catch(() => {
      if (this.#identity === identity) this.#identity = undefined;
    });
    return identity;
  }

  async #identify(): Promise<Identity> {
    const identity = await askIdentity(this.#transport);
    if (!equal(identity.serverPublicKey, this.#options.serverPublicKey))
      throw new VaultIdentityMismatch(`the vault at ${this.#transport.url} shows another public key`);
    return identity;
  }

  /**
   * Before the first message is sent, makes sure that the vault waits as long as this device takes between
   * the two.
   * @param needed milliseconds
   * @throws DeviceTooSlow, VaultIdentityMismatch, VaultError
   */
  async expectTime(needed: number): Promise<void> {
    const allowed = await this.exchangeTime();
    if (needed > allowed) throw new DeviceTooSlow(needed, allowed);
  }

  /** How many milliseconds the vault waits for the second message of an exchange. @throws as {@link identify} */
  async exchangeTime(): Promise<number> {
    return (await (this.#identity ?? this.identify())).exchangeTime;
  }

  /**
   * Asks for an object.
   * @throws VaultIdentityMismatch, AccessTokenForAnother, AccessTokenUnavailable, Locked, WrongPassword, KeyExists, VaultError
   */
  async request(method: string, path: string, body?: object): Promise<Json> {
    return this.#transport.request(method, path, { body, accessToken: await this.#accessToken() });
  }

  /** Sends a request whose answer has no body (204). @throws as {@link request} */
  async command(method: string, path: string, body?: object): Promise<void> {
    return this.#transport.command(method, path, { body, accessToken: await this.#accessToken() });
  }

  /** If another vault answers, it gets no access token and no request. */
  async #accessToken(): Promise<string> {
    const accessToken = await this.#givenToken();
    await (this.#identity ?? this.identify());
    if (isForAnother(accessToken, audienceOf(toBase64url(this.#options.serverPublicKey))))
      throw new AccessTokenForAnother(this.#transport.url);
    return accessToken;
  }

  async #givenToken(): Promise<string> {
    let accessToken: unknown;
    try {
      accessToken = await this.#options.accessToken();
    } catch (cause) {
      throw new AccessTokenUnavailable({ cause });
    }
    // A text that cannot be a header value would make `fetch` fail as if the network were down.
    if (typeof accessToken !== 'string' || !/^[\x21-\x7e]*$/.test(accessToken))
      throw new AccessTokenUnavailable();
    return accessToken;
  }
}

const askIdentity = async (transport: Transport): Promise<Identity> =>
  parseIdentity(await transport.request('GET', '/v1/identity'));

/**
 * The public key that a vault shows now, base64url: whoever answers could show another. Compare it with what the vault's operator
 * says before you pin it.
 * @param options `timeout` in milliseconds, 30,000 by default; `allowPlainHttp`
 * @throws BkvError `InvalidUrl`, `PlainHttp`; VaultError
 */
export const shownIdentity = async (url: string, options: TransportOptions = {}): Promise<string> =>
  toBase64url((await askIdentity(new Transport(url, options))).serverPublicKey);
