export type { Status } from './accounts.js';
export type { Caller, For, KeeperApi } from './api.js';
export type { ShareFinish, ShareRequest } from './dealings.js';
export { Duty, TokenShared } from './duty.js';
export {
  AccountLocked,
  ExchangeExpired,
  InvalidMessage,
  UnknownExchange,
  VaultUnavailable,
  WrongPassword,
} from './errors.js';
export type { AccountId } from './names.js';
export type { VaultOptions } from './opening.js';
export type { RegistrationFinish, RegistrationRequest } from './registration.js';
export type { Shredded } from './shredder.js';
export { BACKUP, BACKUP_CHECK, backupMacInput, TokenBackupError } from './token-backup.js';
export { Vault } from './vault.js';
