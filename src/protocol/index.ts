export { parseBase64url, toBase64url } from './base64url.js';
export {
  type ClientLogin,
  createKE1,
  createRecord,
  createRegistrationRequest,
  EnvelopeRecoveryError,
  finalizeRegistration,
  finishLogin,
  generateKE1,
  generateKE3,
  type RandomBytes,
  randomizePassword,
  ServerAuthenticationError,
  type Stretch,
} from './client.js';
export { CodedError, codeOf, codeOfWire, ERRORS, type ErrorCode, type ErrorDetails } from './errors.js';
export { EXITS, type Exit } from './exits.js';
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
export { deriveKeyPair, diffieHellman, equal, hash, isElement, oprf, pkcs8, SIZES, xOf } from './suite.js';
export { dealKey, type Evaluation, evaluate, interpolate, type Share, subsets } from './threshold.js';
export type { Identities } from './transcript.js';
