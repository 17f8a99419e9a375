import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { SignJWT } from 'jose/jwt/sign';
import { EMBEDDED_ISSUER, embeddedFiles } from '../config/index.js';
import { makeFolder, writeFileAtomic } from '../process/index.js';
import { audienceOf, CodedError } from '../protocol/terms.js';

/** Makes the embedded JWT issuer of a data folder, unless it is there. */
export async function makeIssuer(data: string): Promise<void> {
  const { issuerKey, issuerJwks } = embeddedFiles(data);
  if (existsSync(issuerKey)) return;
  makeFolder(data);
  // The vault verifies far more often than the issuer signs, and RSA is the cheapest to verify.
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwk = { ...publicKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig' };
  // The private key comes last: it shows that both are there.
  await writeFileAtomic(issuerJwks, JSON.stringify({ keys: [jwk] }));
  await writeFileAtomic(issuerKey, privateKey.export({ type: 'pkcs8', format: 'pem' }) as string);
}

/**
 * A JWT of the embedded issuer, for trying the vault out.
 * @param serverKey that of the vault that the JWT is for, base64url; by default that of the data folder
 * @throws CodedError usage when there is no such issuer, or nobody knows the vault's key yet
 */
export async function embeddedJwt(
  data: string,
  account: string,
  seconds: number,
  serverKey?: string,
): Promise<string> {
  const { issuerKey, identity } = embeddedFiles(data);
  if (!existsSync(issuerKey))
    throw new CodedError('usage', `${data} has no embedded issuer; run bkv serve first`);
  if (serverKey === undefined && !existsSync(identity))
    throw new CodedError(
      'usage',
      `${identity} is not there: a vault writes its public key to it when it starts first. Start it, or name the key with --server-key`,
    );
  return new SignJWT()
    .setProtectedHeader({ alg: 'RS256' })
    .setSubject(account)
    .setIssuer(EMBEDDED_ISSUER)
    .setAudience(audienceOf(serverKey ?? readFileSync(identity, 'utf8')))
    .setIssuedAt()
    .setExpirationTime(Math.floor(Date.now() / 1000) + seconds)
    .sign(createPrivateKey(readFileSync(issuerKey)));
}
