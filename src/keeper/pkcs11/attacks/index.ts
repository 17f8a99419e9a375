export { KEY_ATTACKS, type KeyAttack, type Target } from './keys.js';
export { UNWRAP_ATTACKS, type UnwrapAttack, waysToUnwrap } from './unwrapping.js';
