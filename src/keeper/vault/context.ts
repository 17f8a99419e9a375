/** Bound into every key exchange: a login at one vault protocol cannot be replayed in another. */
export const CONTEXT = Buffer.from('backup-key-vault v1');
