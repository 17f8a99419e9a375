export {
  type AccountStatus,
  type Recovery,
  type RegisterOptions,
  VaultClient,
  type VaultClientOptions,
} from './client.js';
export { shownIdentity } from './connection.js';
export {
  AccessTokenForAnother,
  AccessTokenUnavailable,
  DeviceTooSlow,
  ExchangeExpired,
  KeyExists,
  Locked,
  RegistrationUnproven,
  VaultError,
  VaultIdentityMismatch,
  VersionMismatch,
  WrongPassword,
} from './errors.js';
export {
  type Abortable,
  FleetClient,
  type FleetDefinition,
  type FleetOptions,
  type FleetOutcome,
  type FleetRecovery,
  type FleetRegistration,
  type FleetStatus,
  type FleetVault,
  MovedAway,
  NotRegistered,
  Quorums,
  TooFewVaults,
  Undecided,
  type VaultCheck,
  WrongFleetPassword,
} from './fleet/index.js';
export {
  createPasskey,
  type NewPasskey,
  openPasskey,
  type Passkey,
  PasskeyCancelled,
  PasskeyExists,
  type PasskeyOptions,
  PasskeyUnsupported,
  passkeysMayOpen,
} from './passkey.js';
export { preparePassword } from './password.js';
export { isRemembered, makeReminder } from './reminder.js';
export { passwordStrength, type Strength } from './strength.js';
export { argon2, StretchingUnavailable, type StretchPassword } from './stretching.js';
export type { TransportOptions } from './transport.js';
export * from './written.js';
