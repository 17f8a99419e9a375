import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createLocalJWKSet, createRemoteJWKSet, errors, type JWTVerifyGetKey, jwtVerify } from 'jose';
import { CodedError } from '../protocol/index.js';

/** Who says which account a caller acts for. */
export interface AuthOptions {
  /** URL of a JWKS, or the path of one in a file */
  readonly jwks: string;
  readonly issuer: string;
  readonly audience: string;
}

/** Tells the account id from an `Authorization` header. @throws CodedError 401 */
export type Authenticate = (header: string | undefined) => Promise<string>;

/** Bearer tokens remembered as valid, and for how many milliseconds at most: an exchange has two requests. */
const REMEMBERED = 10_000;
const REMEMBERED_MS = 60_000;

/** Accepts a JWT (RFC 7519) of the issuer, for the audience, not expired; its `sub` is the account. */
export function authenticator({ jwks, issuer, audience }: AuthOptions): Authenticate {
  const keys: JWTVerifyGetKey = /^https?:/.test(jwks)
    ? createRemoteJWKSet(new URL(jwks))
    : createLocalJWKSet(JSON.parse(readFileSync(jwks, 'utf8')));
  const refuse = (detail: string): never => {
    throw new CodedError('unauthorized', detail);
  };
  const valid = new Map<string, { account: string; until: number }>();
  return async (header) => {
    const [, token] = /^Bearer ([\w.-]+)$/i.exec(header ?? '') ?? [];
    if (!token) return refuse('send "Authorization: Bearer <JWT>" for the account');
    const digest = createHash('sha256').update(token).digest('base64');
    const known = valid.get(digest);
    if (known && known.until > Date.now()) return known.account;
    try {
      const { payload } = await jwtVerify(token, keys, {
        issuer,
        audience,
        algorithms: ['ES256', 'EdDSA', 'RS256', 'PS256'],
        requiredClaims: ['sub', 'exp'],
      });
      if (!payload.sub || payload.sub.length > 256)
        return refuse('the JWT names no account: "sub" must have 1 to 256 characters');
      const until = Math.min((payload.exp as number) * 1000, Date.now() + REMEMBERED_MS);
      valid.delete(digest);
      valid.set(digest, { account: payload.sub, until });
      if (valid.size > REMEMBERED) valid.delete(valid.keys().next().value as string);
      return payload.sub;
    } catch (error) {
      if (error instanceof CodedError) throw error;
      if (error instanceof errors.JWTExpired) return refuse('the JWT has expired; get a new one');
      if (error instanceof errors.JWKSTimeout || !(error instanceof errors.JOSEError)) {
        throw new CodedError('unavailable', 'the keys of the identity provider cannot be read now', {
          retryAfter: 5,
        });
      }
      return refuse(`the JWT is not valid (${error.code})`);
    }
  };
}
