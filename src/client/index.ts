export { type AccountStatus, VaultClient, type VaultClientOptions } from './client.js';
export { BkvError, Locked, VaultError, VaultIdentityMismatch, WrongPassword } from './errors.js';
export {
  FleetClient,
  type FleetOptions,
  type FleetRecovery,
  type FleetVault,
  TooFewVaults,
  type VaultCheck,
} from './fleet.js';
export { formatKey, looksLikeKey, newBackupKey, parseKey } from './key.js';
export { argon2, preparePassword } from './password.js';
export { isRemembered, makeReminder } from './reminder.js';
export { passwordStrength, type Strength } from './strength.js';
