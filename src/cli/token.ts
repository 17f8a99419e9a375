import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { escrowKeys, hasToken, initializeToken, type Profile } from '../keeper/pkcs11/index.js';
import { type CustodyFlags, custody, fingerprint } from './ceremony.js';
import { profileOf, type TokenFlags } from './profile.js';
import { report } from './report.js';
import { readSecret } from './terminal.js';

/**
 * Makes a token and its keys, if they are missing, and makes it trust its backup token.
 * @param backupKey file with the public key of the backup token
 * @throws TokenError, ProfileError
 */
export async function init(
  flags: TokenFlags & CustodyFlags,
  { soPinFile, backupKey, json }: { soPinFile?: string; backupKey?: string; json?: boolean },
): Promise<void> {
  const profile = profileOf(flags);
  const there = hasToken(profile);
  const soPin = there && !backupKey ? '' : await readSoPin(flags, soPinFile);
  const { made, lacks } = initializeToken(profile, soPin, backupKey !== undefined);
  const name = profile.token.label ?? profile.token.serial;
  const leavesFor = backupKey === undefined ? undefined : trust(profile, soPin, backupKey);
  const result = { token: name, tokenMade: !there, keysMade: made, lacks: Object.fromEntries(lacks) };
  report(json, { ...result, ...(leavesFor !== undefined && { backupToken: leavesFor }) }, () => [
    ...(there ? [] : [`the token "${name}" is made`]),
    made.length > 0 ? `keys made in it: ${made.join(', ')}` : 'it has all its keys; none was made',
    ...[...lacks].map(
      ([label, attributes]) =>
        `${label} was made without ${attributes.join(', ')}, which the module does not accept: bkv doctor says what follows from that`,
    ),
    ...(leavesFor === undefined ? [] : [`they can leave it for the backup token ${leavesFor}, and no other`]),
  ]);
}

/** Makes the token trust its backup token. @param file its public key @returns its fingerprint */
function trust(profile: Profile, soPin: string, file: string): string {
  const publicKey = createPublicKey(readFileSync(file)).export({ type: 'spki', format: 'der' });
  escrowKeys(profile, soPin, publicKey);
  return fingerprint(publicKey);
}

async function readSoPin(flags: CustodyFlags, file: string | undefined): Promise<string> {
  if (flags.custodians) return (await custody(flags)).soPin;
  return file ? readFileSync(file, 'utf8').trim() : readSecret('PIN of the security officer: ');
}
