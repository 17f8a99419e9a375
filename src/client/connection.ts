import { Locked, VaultError, WrongPassword } from './errors.js';

export const toBase64url = (bytes: Uint8Array): string =>
  btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');

export const fromBase64url = (text: unknown): Uint8Array => {
  if (typeof text !== 'string') throw new VaultError(200, 'the vault answered without a field that it owes');
  return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0));
};

/** Requests to one vault, for one account. */
export class Connection {
  constructor(
    readonly url: string,
    readonly accessToken: () => string | Promise<string>,
    /** milliseconds for one request; 30,000 unless told */
    readonly timeout?: number,
  ) {}

  /** @throws Locked, WrongPassword, VaultError */
  async request(method: string, path: string, body?: object): Promise<Record<string, unknown>> {
    const { url, accessToken, timeout = 30_000 } = this;
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
