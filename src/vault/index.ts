export { AccountLocked, InvalidMessage, UnknownExchange, VaultUnavailable, WrongPassword } from './errors.js';
export { CONTEXT, type Status, Vault, type VaultOptions } from './vault.js';
