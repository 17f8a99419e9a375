export { adminApp, app, description } from './app.js';
export { type AuthOptions, authenticator } from './auth.js';
export { type Listen, listen, stop } from './serve.js';
