export {
  type ClientLogin,
  createKE1,
  createRecord,
  createRegistrationRequest,
  EnvelopeRecoveryError,
  finalizeRegistration,
  finishLogin,
  forgetLogin,
  generateKE1,
  generateKE3,
  randomizePassword,
  ServerAuthenticationError,
  type Stretch,
} from './client.js';
export { identities, PLAIN } from './identities.js';
export {
  finishMac,
  forget,
  type RegistrationStart,
  type RegistrationUpload,
  registrationKeys,
  startMac,
} from './registration.js';
export { generateKE2, type KE2Input, parseKE1, parseRegistrationRecord } from './server.js';
export {
  deriveKeyPair,
  diffieHellman,
  equal,
  hash,
  isElement,
  newKeyPair,
  oprf,
  pkcs8,
  type RandomBytes,
  sharedX,
  xOf,
} from './suite.js';
export * from './terms.js';
export { dealKey, type Evaluation, evaluate, interpolate, type Share, subsets } from './threshold.js';
export type { Identities } from './transcript.js';
