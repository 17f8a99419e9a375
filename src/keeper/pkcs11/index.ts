export {
  ESCROW_LABEL,
  type EscrowedKeys,
  escrowKeys,
  initializeBackupToken,
  restoreSecrets,
} from './backup.js';
export { examine, type Finding } from './doctor.js';
export { embeddedProfile } from './embedded.js';
export { InvalidPoint, ProfileError, TokenError } from './errors.js';
export { decompress } from './point.js';
export { Token } from './pool.js';
export { loadProfile, type Profile, readPin } from './profile.js';
export { type DataObject, KEY_LABELS, type PrivateKey, type Writer } from './session.js';
export { changePin, hasToken, initializeToken, inspectToken } from './setup.js';
