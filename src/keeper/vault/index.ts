export type { Caller, Identity, KeeperApi } from './api.js';
export { Duty, TokenShared } from './duty.js';
export { AccountLocked, InvalidMessage, UnknownExchange, VaultUnavailable, WrongPassword } from './errors.js';
export type { Shredded } from './shredder.js';
export { type RestoredToken, restoreToken, TokenBackupError } from './token-backup.js';
export {
  CONTEXT,
  ledgerStore,
  type ShareRegistration,
  type Status,
  Vault,
  type VaultOptions,
} from './vault.js';
