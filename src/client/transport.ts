import { refusePlainHttp } from './access.js';
import { type Json, refusalOf } from './answers.js';
import { BkvError, VaultError } from './errors.js';

/** Most bytes of an answer that are read: a vault's own are below 4,096. */
const MOST_BYTES = 65_536;

export interface TransportOptions {
  /** milliseconds for one request; 30,000 by default */
  readonly timeout?: number;
  /** whether `http:` is allowed to addresses other than this device's own */
  readonly allowPlainHttp?: boolean;
}

interface Sent {
  readonly body?: object | undefined;
  readonly accessToken?: string;
}

/** Requests to one address. */
export class Transport {
  readonly #base: URL;
  readonly #timeout: number;

  /** @throws BkvError `InvalidUrl`, `PlainHttp` */
  constructor(
    readonly url: string,
    { timeout = 30_000, allowPlainHttp = false }: TransportOptions,
  ) {
    this.#base = parseUrl(url);
    if (!allowPlainHttp) refusePlainHttp(this.#base);
    this.#timeout = timeout;
  }

  /** Asks for an object. @throws Locked, WrongPassword, KeyExists, VaultError */
  async request(method: string, path: string, sent: Sent = {}): Promise<Json> {
    const response = await this.#send(method, path, sent);
    const answer = await read(response);
    this.#refuse(response, answer);
    if (response.status !== 200 || !answer) throw this.#notAVault(response);
    return answer;
  }

  /** Sends a request whose answer has no body (204). @throws as {@link request} */
  async command(method: string, path: string, sent: Sent = {}): Promise<void> {
    const response = await this.#send(method, path, sent);
    const answer = await read(response);
    this.#refuse(response, answer);
    if (response.status !== 204) throw this.#notAVault(response);
  }

  /** A vault explains each of its 404. What has no such path is something else. */
  #refuse(response: Response, answer: Json | undefined): void {
    if (response.status === 404 && !answer) throw this.#notAVault(response);
    if (!response.ok) throw refusalOf(response, answer);
  }

  async #send(method: string, path: string, { body, accessToken }: Sent): Promise<Response> {
    const url = new URL(this.#base);
    url.pathname = url.pathname.replace(/\/+$/, '') + path;
    try {
      return await fetch(url, {
        method,
        headers: {
          ...(accessToken !== undefined && { authorization: `Bearer ${accessToken}` }),
          ...(body && { 'content-type': 'application/json' }),
        },
        body: body ? JSON.stringify(body) : null,
        redirect: 'error',
        signal: AbortSignal.timeout(this.#timeout),
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

  #notAVault({ status }: Response): VaultError {
    return new VaultError(
      status,
      `what answers at ${this.url} is not a vault; perhaps the network asks you to sign in first, or the address is wrong`,
    );
  }
}

/** The address of a vault, which may have a path. @throws BkvError `InvalidUrl` */
function parseUrl(url: string): URL {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || !/^https?:$/.test(parsed.protocol))
    throw new BkvError('InvalidUrl', `the address of a vault begins with https://; "${url}" does not`);
  return parsed;
}

/** Why no answer came, as Node.js names it: `ECONNREFUSED`, `CERT_HAS_EXPIRED`. Empty in browsers, which do not tell. */
const reasonOf = (error: unknown): string =>
  (error as { cause?: { code?: string } } | undefined)?.cause?.code ?? '';

/**
 * The object of a JSON answer; `undefined` when it is something else, or too long for a vault.
 * @throws VaultError when it is cut off
 */
async function read(response: Response): Promise<Json | undefined> {
  const isJson = /^application\/(problem\+)?json\b/i.test(response.headers.get('content-type') ?? '');
  try {
    const text = isJson ? await textOf(response) : await response.body?.cancel();
    return text === undefined ? undefined : parse(text);
  } catch (cause) {
    throw new VaultError(0, "the vault's answer was cut off; check the network", { cause });
  }
}

/** @returns `undefined` when it is longer than what is read */
async function textOf(response: Response): Promise<string | undefined> {
  // React Native's `fetch` has no streams.
  if (!response.body) return response.text();
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    length += value.length;
    if (length > MOST_BYTES) {
      await reader.cancel();
      return undefined;
    }
    text += decoder.decode(value, { stream: true });
  }
}

function parse(text: string): Json | undefined {
  try {
    const answer: unknown = JSON.parse(text);
    return answer !== null && typeof answer === 'object' ? (answer as Json) : undefined;
  } catch {
    return undefined;
  }
}
