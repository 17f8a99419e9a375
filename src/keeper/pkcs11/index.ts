export {
  ESCROW_LABEL,
  type EscrowedKeys,
  escrowKeys,
  initializeBackupToken,
} from './backup.js';
export { examine, type Finding } from './doctor/index.js';
export { embeddedProfile } from './embedded.js';
export { PinRefused, ProfileError, TokenError, type TokenReason } from './errors.js';
export type { PrivateKey } from './evaluation.js';
export { errorOf, failureOf, isOfToken } from './failure.js';
export { KEY_LABELS, type KeyLabel, LEDGER_PREFIX, PAGE_KEY_PREFIX } from './labels.js';
export type { DataObject, Lent, Writer } from './objects.js';
export { type Calls, type OperationName, operation } from './operations.js';
export type { PageKey } from './page-keys.js';
export { readPin } from './pin.js';
export { expectPoint } from './point.js';
export { loadProfile, type Profile, type TokenName } from './profile.js';
export { rehearseSecrets, restoreSecrets, type TokenSecrets } from './restore.js';
export type { Exposure } from './session.js';
export type { Begun, Call, Command, Obeyed, Reply } from './session-thread.js';
export { changePin, hasToken, initializeToken } from './setup.js';
export { type Question, Witness } from './witness.js';
export type { WrappedKey } from './wrapping.js';
