import { audienceOf, equal, MOST_EXCHANGE_SECONDS, parseBase64url, toBase64url } from '../protocol/index.js';
import { isForAnother, refusePlainHttp } from './access.js';
import {
  AccessTokenForAnother,
  AccessTokenUnavailable,
  BkvError,
  DeviceTooSlow,
  KeyExists,
  Locked,
  VaultError,
  VaultIdentityMismatch,
  WrongPassword,
} from './errors.js';

export { toBase64url };

/** @throws VaultError when it is not base64url text */
export function fromBase64url(text: unknown): Uint8Array {
  const bytes = parseBase64url(text);
  if (!bytes) throw new VaultError(200, 'the vault answered without a required field');
  return bytes;
}

type Answer = Record<string, unknown>;

/** Most bytes of an answer: more than any vault sends. */
const LONGEST_ANSWER = 1024 * 1024;

const PROBLEM = 'urn:bkv:problem:';

/** The address of a vault, which may have a path. @throws BkvError `InvalidUrl` */
const parseUrl = (url: string): URL => {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || !/^https?:$/.test(parsed.protocol))
    throw new BkvError('InvalidUrl', `the address of a vault begins with https://; "${url}" does not`);
  return parsed;
};

/** Why no answer came, as Node.js names it: `ECONNREFUSED`, `CERT_HAS_EXPIRED`. Empty in browsers, which do not tell. */
const reasonOf = (error: unknown): string =>
  (error as { cause?: { code?: string } } | undefined)?.cause?.code ?? '';

export interface ConnectionOptions {
  /** 33 bytes, pinned */
  readonly serverPublicKey: Uint8Array;
  readonly accessToken: () => string | Promise<string>;
  /** milliseconds for one request; 30,000 by default */
  readonly timeout?: number;
  /** whether `http:` is allowed to addresses other than this device's own */
  readonly allowPlainHttp?: boolean;
}

/** Requests to one vault, for one account. */
export class Connection {
  readonly #base: URL;
  readonly #options: ConnectionOptions;
  #identity: Promise<Answer> | undefined;

  /** @throws BkvError `InvalidUrl`, `PlainHttp` */
  constructor(
    readonly url: string,
    options: ConnectionOptions,
  ) {
    this.#base = parseUrl(url);
    if (!options.allowPlainHttp) refusePlainHttp(this.#base);
    this.#options = options;
  }

  /** Asks the vault who it is, without an access token. @throws VaultIdentityMismatch, VaultError */
  identify(): Promise<Answer> {
    const identity = this.#identify();
    this.#identity = identity;
    identity.catch(() => {
      if (this.#identity === identity) this.#identity = undefined;
    });
    return identity;
  }

  async #identify(): Promise<Answer> {
    const identity = await this.#answer(await this.#send('GET', '/v1/identity', undefined, {}));
    if (!equal(fromBase64url(identity.serverPublicKey), this.#options.serverPublicKey))
      throw new VaultIdentityMismatch(`the vault at ${this.url} shows another public key`);
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
    const { exchangeSeconds } = await (this.#identity ?? this.identify());
    if (typeof exchangeSeconds !== 'number' || exchangeSeconds > MOST_EXCHANGE_SECONDS)
      throw new VaultError(200, 'the vault does not say how long it waits, or says more than an hour');
    return exchangeSeconds * 1000;
  }

  /**
   * Asks for an object.
   * @throws VaultIdentityMismatch, AccessTokenForAnother, AccessTokenUnavailable, Locked, WrongPassword, KeyExists, VaultError
   */
  async request(method: string, path: string, body?: object): Promise<Answer> {
    return this.#answer(await this.#ask(method, path, body));
  }

  /** Sends a request whose answer has no body (204). @throws as {@link request} */
  async command(method: string, path: string, body?: object): Promise<void> {
    const response = await this.#ask(method, path, body);
    if (!response.ok) throw refusal(response, await read(response));
    if (response.status !== 204) throw this.#notAVault(response);
  }

  async #answer(response: Response): Promise<Answer> {
    const answer = await read(response);
    if (!response.ok) throw refusal(response, answer);
    if (response.status !== 200 || !answer) throw this.#notAVault(response);
    return answer;
  }

  /** If another vault answers, it gets no access token and no request. */
  async #ask(method: string, path: string, body?: object): Promise<Response> {
    const accessToken = await this.#accessToken();
    await (this.#identity ?? this.identify());
    if (isForAnother(accessToken, audienceOf(toBase64url(this.#options.serverPublicKey))))
      throw new AccessTokenForAnother(this.url);
    return this.#send(method, path, body, { authorization: `Bearer ${accessToken}` });
  }

  async #send(
    method: string,
    path: string,
    body: object | undefined,
    authorization: { authorization?: string },
  ): Promise<Response> {
    const url = new URL(this.#base);
    url.pathname = url.pathname.replace(/\/+$/, '') + path;
    try {
      return await fetch(url, {
        method,
        headers: { ...authorization, ...(body && { 'content-type': 'application/json' }) },
        body: body ? JSON.stringify(body) : null,
        redirect: 'error',
        signal: AbortSignal.timeout(this.#options.timeout ?? 30_000),
      });
    } catch (cause) {
      const reason = reasonOf(cause);
      throw new VaultError(
        0,
        `the vault at ${this.url} did not answer${reason && ` (${reason})`}; check the address and the network`,
        { cause },
      );
    }
  }

  async #accessToken(): Promise<string> {
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

  #notAVault({ status }: Response): VaultError {
    return new VaultError(
      status,
      `what answers at ${this.url} is not a vault; perhaps the network asks you to sign in first, or the address is wrong`,
    );
  }
}

/** The text of an answer; `undefined` when it is longer than an answer can be. */
async function textOf({ body }: Response): Promise<string | undefined> {
  const decoder = new TextDecoder();
  const reader = body?.getReader();
  let text = '';
  for (let left = LONGEST_ANSWER; ; ) {
    const piece = (await reader?.read())?.value;
    if (!piece) return text + decoder.decode();
    left -= piece.length;
    if (left < 0) {
      await reader?.cancel();
      return undefined;
    }
    text += decoder.decode(piece, { stream: true });
  }
}

/** The object of a JSON answer; `undefined` when it is something else. @throws VaultError when it is cut off */
async function read(response: Response): Promise<Answer | undefined> {
  let text: string | undefined;
  try {
    text = await textOf(response);
  } catch (cause) {
    throw new VaultError(0, "the vault's answer was cut off; check the network", { cause });
  }
  if (text === undefined) return undefined;
  if (!/^application\/(problem\+)?json\b/i.test(response.headers.get('content-type') ?? '')) return undefined;
  try {
    const answer: unknown = JSON.parse(text);
    return answer !== null && typeof answer === 'object' ? (answer as Answer) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The error for a refusal, by its problem document (RFC 9457). Nothing else may say that an account is
 * locked.
 */
function refusal({ status, headers }: Response, problem: Answer = {}): BkvError {
  const type = String(problem.type ?? '');
  const kind = type.startsWith(PROBLEM) ? type.slice(PROBLEM.length) : undefined;
  if (kind === 'locked') return new Locked();
  if (kind === 'key-exists') return new KeyExists();
  if (kind === 'wrong-password') return new WrongPassword(Number(problem.attemptsRemaining));
  return new VaultError(status, String(problem.detail ?? `the vault answered ${status}`), {
    kind,
    retryAfter: retryAfter(headers),
  });
}

/** The header's seconds in milliseconds. */
function retryAfter(headers: Headers): number | undefined {
  const seconds = headers.get('retry-after') ?? '';
  return /^\d{1,6}$/.test(seconds) ? Number(seconds) * 1000 : undefined;
}
