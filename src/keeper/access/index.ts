export { type Authenticate, authenticator, type Issuer } from './jwt.js';
export { AccountLimit } from './limit.js';
