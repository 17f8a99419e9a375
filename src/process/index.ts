export { backOff } from './back-off.js';
export { failWith } from './fail.js';
export { writeFileAtomic, writeFileAtomicSync } from './files.js';
export { harden } from './harden.js';
export { inHome } from './home.js';
export { useProxies } from './proxy.js';
export { whoElseReads } from './readers.js';
export { aborted, hurrySignal, listenForStop, stopped, stopSignal } from './stop.js';
export { Turn } from './turn.js';
