export { type DutyLock, dutyLock, type TakeDutyLock } from './duty-lock.js';
export { DatabaseError } from './errors.js';
export { type Binding, Records } from './records.js';
export {
  BadRow,
  type Content,
  isLockedRow,
  NONCE_BYTES,
  nonceOf,
  type OpenRow,
  openRow,
  type Place,
  type Row,
  rowKeyInput,
  sealRow,
} from './row.js';
