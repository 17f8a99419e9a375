export { LedgerCorrupt, MAX_ATTEMPTS } from './format.js';
export {
  KEY_PREFIX,
  Ledger,
  type LedgerStore,
  LedgerUnavailable,
  pageOf,
  type Rotation,
  type Slot,
  SlotClosed,
  type SlotState,
  wrappingKeyLabel,
} from './ledger.js';
export { restoredLedger } from './restored.js';
