export { LedgerCorrupt, MAX_ATTEMPTS } from './format.js';
export {
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
