/** The embedded default: a SoftHSM2 token, a database and a JWT issuer in the data folder, for trials on one machine. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CodedError, isLoopback } from '../protocol/terms.js';
import type { Auth, Config } from './daemon.js';

/**
 * Its profile. Environment variables name the data folder: BKV_DATA for the profile, SOFTHSM2_CONF for the
 * module.
 */
export const EMBEDDED_PROFILE = fileURLToPath(new URL('../../../hsm-config/softhsm2.yaml', import.meta.url));

/** Files of a data folder. */
export const embeddedFiles = (data: string) => ({
  tokens: join(data, 'tokens'),
  softhsm: join(data, 'softhsm2.conf'),
  pin: join(data, 'token-pin'),
  soPin: join(data, 'token-so-pin'),
  issuerKey: join(data, 'issuer.key.pem'),
  issuerJwks: join(data, 'issuer.jwks.json'),
  /** the vault's public key, base64url: what its access tokens are for */
  identity: join(data, 'identity'),
});

export const EMBEDDED_ISSUER = 'bkv-embedded';

/** Configuration that trusts the embedded issuer. */
export const embeddedAuth = (data: string): Auth => ({
  jwks: embeddedFiles(data).issuerJwks,
  issuer: EMBEDDED_ISSUER,
});

/**
 * Who says which account a caller acts for. A key in the data folder is acceptable for trials only: on the
 * embedded token, and if no other machine reaches the vault.
 * @throws CodedError usage
 */
export function authOf({ auth, profile, listen }: Config, data: string): Auth {
  if (auth) return auth;
  if (profile !== undefined)
    throw new CodedError(
      'usage',
      'auth: is missing. A vault with a profile needs the identity provider: jwks, issuer',
    );
  if (!isLoopback(listen.host))
    throw new CodedError(
      'usage',
      `auth: is missing. A vault that other machines reach (${listen.host}) needs the identity provider: jwks, issuer`,
    );
  return embeddedAuth(data);
}
