export { InvalidPoint, ProfileError, TokenError } from './errors.js';
export { decompress } from './point.js';
export { Token } from './pool.js';
export { loadProfile, type Profile } from './profile.js';
export { type DataObject, KEY_LABELS, type PrivateKey } from './session.js';
export { initializeToken, inspectToken } from './setup.js';
