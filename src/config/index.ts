export { certificatesIn } from './certificates.js';
export * from './check.js';
export { type Auth, type Config, type HostPort, loadConfig } from './daemon.js';
export {
  authOf,
  EMBEDDED_ISSUER,
  EMBEDDED_PROFILE,
  embeddedAuth,
  embeddedFiles,
} from './embedded.js';
export { assertServable } from './servable.js';
