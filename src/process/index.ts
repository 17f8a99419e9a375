export { writeFileAtomic } from './files.js';
export { harden } from './harden.js';
export { whoElseReads } from './readers.js';
export { listenForStop, stopped, stopSignal } from './stop.js';
