export { embeddedJwt, makeIssuer } from './issuer.js';
export { serve } from './supervisor.js';
