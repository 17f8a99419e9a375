import { isPlainHttp, parseBase64url } from '../protocol/terms.js';
import { BkvError } from './errors.js';

/**
 * Anybody on the way can read an access token that travels in clear, and nothing but TLS protects plain
 * clients.
 * @throws BkvError `PlainHttp`
 */
export function refusePlainHttp(url: URL): void {
  if (isPlainHttp(url))
    throw new BkvError(
      'PlainHttp',
      `${url.href} is not encrypted, and is not this device; use https:, or allow plain HTTP explicitly`,
    );
}

/**
 * Whether `aud` of a JWT (RFC 7519) names others and not `audience`. An access token that is not a JWT names
 * nobody.
 */
export function isForAnother(accessToken: string, audience: string): boolean {
  try {
    const [, payload = ''] = accessToken.split('.');
    const { aud } = JSON.parse(new TextDecoder().decode(parseBase64url(payload))) as { aud?: unknown };
    return aud !== undefined && ![aud].flat().includes(audience);
  } catch {
    return false;
  }
}
