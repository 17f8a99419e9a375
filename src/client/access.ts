import { parseBase64url } from '../protocol/terms.js';
import { BkvError } from './errors.js';

const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

/**
 * An access token that travels in clear is anybody's, and TLS is what protects plain clients.
 * @throws BkvError `PlainHttp`
 */
export function refusePlainHttp({ protocol, hostname, href }: URL): void {
  if (protocol === 'http:' && !LOOPBACK.test(hostname))
    throw new BkvError(
      'PlainHttp',
      `${href} is not encrypted, and is not this device; use https:, or allow plain HTTP explicitly`,
    );
}

/** Whether a JWT (RFC 7519) says in `aud` that it is for others alone. What is not a JWT says nothing. */
export function isForAnother(accessToken: string, audience: string): boolean {
  try {
    const [, payload = ''] = accessToken.split('.');
    const { aud } = JSON.parse(new TextDecoder().decode(parseBase64url(payload))) as { aud?: unknown };
    return aud !== undefined && ![aud].flat().includes(audience);
  } catch {
    return false;
  }
}
