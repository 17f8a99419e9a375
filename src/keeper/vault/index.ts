export { Duty, TokenShared } from './duty.js';
export { AccountLocked, InvalidMessage, UnknownExchange, VaultUnavailable, WrongPassword } from './errors.js';
export type { Shredded } from './shredder.js';
export { type RestoredToken, restoreToken, TokenBackupError } from './token-backup.js';
export { CONTEXT, ledgerStore, type Status, Vault, type VaultOptions } from './vault.js';
