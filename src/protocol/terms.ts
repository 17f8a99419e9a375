/**
 * The protocol's codes and sizes, and nothing that computes. Processes that only pass its messages on import
 * this, and start faster.
 */
export { audienceOf } from './audience.js';
export { parseBase64url, toBase64url } from './base64url.js';
export { CodedError, codeOf, codeOfWire, ERRORS, type ErrorCode, type ErrorDetails } from './errors.js';
export { EXITS, type Exit } from './exits.js';
export { isLoopback, isPlainHttp } from './loopback.js';
export { said } from './said.js';
export { MOST_ATTEMPTS, MOST_DEALINGS, MOST_EXCHANGE_SECONDS, SIZES, WIRE_VERSION } from './sizes.js';
