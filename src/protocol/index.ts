export {
  type ClientLogin,
  createRegistrationRequest,
  EnvelopeRecoveryError,
  finalizeRegistration,
  generateKE1,
  generateKE3,
  type RandomBytes,
  ServerAuthenticationError,
  type Stretch,
} from './client.js';
export { CodedError, codeOf, codeOfWire, ERRORS, type ErrorCode, type ErrorDetails } from './errors.js';
export { generateKE2, type KE2Input, parseKE1, parseRegistrationRecord } from './server.js';
export { deriveKeyPair, equal, oprf, SIZES } from './suite.js';
export { dealKey, type Evaluation, evaluate, interpolate, liars, type Share, subsets } from './threshold.js';
export type { Identities } from './transcript.js';
