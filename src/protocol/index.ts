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
export { audienceOf, identities, PLAIN } from './identities.js';
export {
  finishMac,
  forget,
  type RegistrationStart,
  type RegistrationUpload,
  registrationKeys,
  startMac,
} from './registration.js';
export { generateKE2, type KE2Input, parseKE1, parseRegistrationRecord } from './server.js';
export { deriveKeyPair, diffieHellman, equal, oprf, SIZES, xOf } from './suite.js';
export { dealKey, type Evaluation, evaluate, interpolate, liars, type Share, subsets } from './threshold.js';
export type { Identities } from './transcript.js';
