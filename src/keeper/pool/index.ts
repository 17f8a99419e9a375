export { TokenPool } from './pool.js';
export type { Token } from './token.js';
export { tryThreads } from './trial.js';
