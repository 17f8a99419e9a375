export { type AccountStatus, type RegisterOptions, VaultClient, type VaultClientOptions } from './client.js';
export {
  AccessTokenForAnother,
  AccessTokenUnavailable,
  BkvError,
  ExchangeExpired,
  KeyExists,
  Locked,
  RegistrationUnproven,
  VaultError,
  VaultIdentityMismatch,
  WrongPassword,
} from './errors.js';
export {
  FleetClient,
  type FleetOptions,
  type FleetRecovery,
  type FleetVault,
  TooFewVaults,
  type VaultCheck,
} from './fleet.js';
export { formatKey, looksLikeKey, newBackupKey, parseKey } from './key.js';
export { preparePassword } from './password.js';
export { isRemembered, makeReminder } from './reminder.js';
export { passwordStrength, type Strength } from './strength.js';
export { argon2, StretchingUnavailable, type StretchPassword } from './stretching.js';
