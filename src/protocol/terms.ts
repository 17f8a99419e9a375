/** What the protocol is told in, and nothing that computes: for whoever passes its messages on, and starts in less time without. */
export { audienceOf } from './audience.js';
export { parseBase64url, toBase64url } from './base64url.js';
export { CodedError, codeOf, codeOfWire, ERRORS, type ErrorCode, type ErrorDetails } from './errors.js';
export { EXITS, type Exit } from './exits.js';
export { SIZES } from './sizes.js';
