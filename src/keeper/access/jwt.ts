import { createHash } from 'node:crypto';
import * as errors from 'jose/errors';
import { jwtVerify } from 'jose/jwt/verify';
import { CodedError } from '../../protocol/terms.js';
import type { AccountId } from '../vault/index.js';
import { keySource } from './keys.js';

/** Who says which account a caller acts for. */
export interface Issuer {
  /** URL of a JWKS, or the path of one in a file */
  readonly jwks: string;
  readonly issuer: string;
  /** the vault's audience: access tokens must be for it alone; see `audienceOf` */
  readonly audience: string;
}

/** Resolves to the account that a JWT names. @throws CodedError unauthorized, unavailable */
export type Authenticate = (accessToken: string) => Promise<AccountId>;

/** How many JWTs are remembered as valid, and for how many milliseconds: an exchange has two requests. */
const REMEMBERED = 10_000;
const REMEMBERED_MS = 60_000;
/** Seconds by which the provider's clock may differ. */
const TOLERANCE = 5;

const isWellFormed = (text: string): boolean => Buffer.from(text).toString() === text;

const refused = (detail: string): CodedError => new CodedError('unauthorized', detail);

/** Accepts a JWT (RFC 7519) of the issuer, for the audience, not expired; its `sub` is the account. */
export function authenticator({ jwks, issuer, audience }: Issuer): Authenticate {
  const keys = keySource(jwks);
  const valid = new Map<string, { account: AccountId; until: number }>();
  return async (accessToken) => {
    if (!/^[\w.-]+$/.test(accessToken)) throw refused('send "Authorization: Bearer <JWT>" for the account');
    const digest = createHash('sha256').update(accessToken).digest('base64');
    const known = valid.get(digest);
    // A monotonic clock: a clock that jumps between the two messages of a recovery would cost the attempt.
    if (known && known.until > performance.now()) return known.account;
    try {
      const { payload } = await jwtVerify(accessToken, keys, {
        issuer,
        audience,
        algorithms: ['ES256', 'EdDSA', 'RS256', 'PS256'],
        requiredClaims: ['sub', 'exp'],
        clockTolerance: TOLERANCE,
      });
      const { sub, exp } = payload;
      // Halves of characters have no bytes of their own: two accounts would get one name.
      if (!sub || sub.length > 256 || !isWellFormed(sub))
        throw refused('the JWT names no account: "sub" must have 1 to 256 characters of Unicode');
      const account = { issuer, subject: sub };
      valid.delete(digest);
      valid.set(digest, {
        account,
        until: performance.now() + Math.min(((exp as number) + TOLERANCE) * 1000 - Date.now(), REMEMBERED_MS),
      });
      if (valid.size > REMEMBERED) valid.delete(valid.keys().next().value as string);
      return account;
    } catch (error) {
      if (error instanceof errors.JWTExpired) throw refused('the JWT has expired; get a new one');
      if (error instanceof errors.JOSEError) throw refused(`the JWT is not valid (${error.code})`);
      // A key that the provider should not have, or a fault of this program: no other token would help the client.
      throw error;
    }
  };
}
