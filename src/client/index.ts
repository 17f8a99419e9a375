export { type AccountStatus, VaultClient, type VaultClientOptions } from './client.js';
export { BkvError, Locked, VaultError, VaultIdentityMismatch, WrongPassword } from './errors.js';
export { formatKey, newBackupKey, parseKey } from './key.js';
