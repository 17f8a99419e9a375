export type { Attempt } from './attempts.js';
export type { Cell, CellState } from './cells.js';
export { CellClosed, LedgerCorrupt, LedgerUnavailable } from './errors.js';
export { Ledger, type LedgerOptions, PAGE_CELLS } from './ledger.js';
export type { KeptMark } from './mark.js';
export { type BackedUpPage, packWords, restoredLedger, unpackWords } from './restored.js';
export type { Rotation } from './rotation.js';
export { type LedgerStore, tokenStore } from './store.js';
export { peek } from './take-over.js';
