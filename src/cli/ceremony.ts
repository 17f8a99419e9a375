import { createHash, createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  appointCustodians,
  type Custody,
  openCustody,
  rehearseToken,
  restoreToken,
} from '../keeper/custody/index.js';
import { changePin, initializeBackupToken, type Profile, readPin } from '../keeper/pkcs11/index.js';
import { UsageError } from './errors.js';
import { expectNew, writeNew } from './file.js';
import { readNewPassword } from './passwords.js';
import { profileOf, type TokenFlags } from './profile.js';
import { report } from './report.js';
import { readSecret } from './terminal.js';

/** A file of custodians, whose passphrases can be asked for. */
export interface CustodyFlags {
  readonly custodians?: string;
}

/** Asks custodians for their passphrases. @throws UsageError when no file of them is named */
export function custody({ custodians }: CustodyFlags): Promise<Custody> {
  if (custodians === undefined) throw new UsageError('name the file of the custodians: --custodians FILE');
  return openCustody(readFileSync(custodians, 'utf8'), (have, threshold) =>
    readSecret(`Passphrase of a custodian (${have + 1} of ${threshold}): `),
  );
}

/** How a public key is read out: its SHA-256. */
export const fingerprint = (publicKey: Uint8Array): string =>
  (createHash('sha256').update(publicKey).digest('hex').match(/.{4}/g) as string[]).join(' ');

/** Shares out the PINs of a ceremony among custodians. */
export async function appoint(file: string, threshold: number, count: number, json?: boolean): Promise<void> {
  expectNew(file);
  const passphrases: string[] = [];
  while (passphrases.length < count) {
    process.stderr.write(`Custodian ${passphrases.length + 1} of ${count}\n`);
    passphrases.push(await readNewPassword(3));
  }
  writeNew(file, await appointCustodians(threshold, passphrases));
  report(json, { custodians: file, threshold, count }, () => [
    `${threshold} of the ${count} passphrases open ${file}. Keep copies of it; without it they open nothing.`,
  ]);
}

/** The profile with the PIN that custodians hold, for a token that no daemon uses. */
const heldBy = (profile: Profile, { backupPin }: Custody): Profile => ({
  ...profile,
  pin: [{ held: backupPin }],
});

/** Makes a backup token, and writes its public key to a file. */
export async function initBackup(
  flags: TokenFlags & CustodyFlags,
  out: string,
  json?: boolean,
): Promise<void> {
  expectNew(out);
  const profile = profileOf(flags);
  const custodians = await custody(flags);
  const publicKey = initializeBackupToken(heldBy(profile, custodians), custodians.backupSoPin);
  const pem = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
  writeNew(out, pem.export({ type: 'spki', format: 'pem' }));
  report(json, { backupToken: fingerprint(publicKey), publicKey: out }, () => [
    `the backup token is ${fingerprint(publicKey)}; its public key is in ${out}`,
  ]);
}

/** Tries every key of a backup in the backup token, and leaves nothing behind. */
export async function rehearse(
  flags: TokenFlags & CustodyFlags,
  file: string,
  json?: boolean,
): Promise<void> {
  const profile = heldBy(profileOf(flags), await custody(flags));
  const { created, pageKeys } = rehearseToken(profile, readFileSync(file, 'utf8'));
  report(json, { created, pageKeys }, () => [
    `the backup of ${created} is whole: the long-lived keys and ${pageKeys} page keys work in the backup token`,
  ]);
}

/** Turns the backup token into the vault's, with the PIN of its profile. */
export async function restore(flags: TokenFlags & CustodyFlags, file: string, json?: boolean): Promise<void> {
  const profile = profileOf(flags);
  if (!profile.restored)
    throw new UsageError(
      'write "restored: true" into the profile: keys that come out of a backup were not made in this token',
    );
  const pin = readPin(profile);
  const held = heldBy(profile, await custody(flags));
  const { created, pageKeys } = restoreToken(held, readFileSync(file, 'utf8'));
  changePin(held, pin);
  report(json, { created, pageKeys }, () => [
    `the backup of ${created} is restored, with ${pageKeys} page keys; each account has one attempt`,
  ]);
}
