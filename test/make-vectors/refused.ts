import { p256 } from '@noble/curves/nist.js';
import type { Account } from './account.js';
import { hex } from './bytes.js';

const flipped = (text: string, byte: number): string => {
  const bytes = Buffer.from(text, 'hex');
  bytes[byte] = (bytes[byte] as number) ^ 1;
  return hex(bytes);
};

/** Messages that a client must refuse, with the expected errors. Each differs from the first account's by one change. */
export function refused({ registration, recovery, vault }: Account) {
  const other = hex(p256.Point.BASE.toBytes(true));
  return {
    starts: [
      { why: 'another MAC', mac: flipped(registration.startMac, 31) },
      {
        why: 'another evaluation',
        registrationResponse: other + registration.registrationResponse.slice(66),
      },
      { why: 'another vault', registrationResponse: registration.registrationResponse.slice(0, 66) + other },
      { why: 'another limit', limit: registration.limit + 1 },
      { why: 'another exchange', registrationId: flipped(registration.registrationId, 0) },
      { why: 'another account', account: 'mallory' },
    ].map((change) => ({ ...change, code: 'VaultIdentityMismatch' })),
    logins: [
      { why: 'another evaluation', KE2: other + recovery.KE2.slice(66), code: 'WrongPassword' },
      { why: 'another record', KE2: flipped(recovery.KE2, 100), code: 'WrongPassword' },
      { why: 'another account', account: 'mallory', code: 'WrongPassword' },
      { why: "another server's MAC", KE2: flipped(recovery.KE2, 258), code: 'VaultIdentityMismatch' },
      { why: 'another nonce', KE2: flipped(recovery.KE2, 170), code: 'VaultIdentityMismatch' },
    ],
    sealedKeys: [
      { why: 'another tag', encryptedBackupKey: flipped(registration.encryptedBackupKey, 59) },
      { why: 'another nonce', encryptedBackupKey: flipped(registration.encryptedBackupKey, 0) },
      { why: 'no tag', encryptedBackupKey: registration.encryptedBackupKey.slice(0, -32) },
    ].map((change) => ({ ...change, code: 'VaultError' })),
    elements: [
      '00',
      '02'.padEnd(66, 'f'),
      `04${vault.serverPublicKey.slice(2)}`,
      `${vault.serverPublicKey}00`,
    ],
  };
}
