export { type Authenticate, authenticator, type Issuer } from './jwt.js';
export { isUrl } from './keys.js';
export { AccountLimit } from './limit.js';
