export {
  ESCROW_LABEL,
  type EscrowedKeys,
  escrowKeys,
  initializeBackupToken,
} from './backup.js';
export { examine, type Finding } from './doctor.js';
export { embeddedProfile } from './embedded.js';
export { InvalidPoint, ProfileError, TokenError } from './errors.js';
export type { PrivateKey } from './evaluation.js';
export { KEY_LABELS } from './keyring.js';
export type { DataObject, Writer } from './objects.js';
export { decompress } from './point.js';
export { Token } from './pool.js';
export { loadProfile, type Profile, readPin } from './profile.js';
export { rehearseSecrets, restoreSecrets, type TokenSecrets } from './restore.js';
export { changePin, hasToken, initializeToken, inspectToken } from './setup.js';
export type { WrappedKey } from './wrapping.js';
