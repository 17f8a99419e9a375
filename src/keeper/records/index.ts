export { DatabaseError } from './database.js';
export { type Leadership, lead } from './leadership.js';
export { type Binding, isLockedRow, macInput, Records, type Row } from './records.js';
