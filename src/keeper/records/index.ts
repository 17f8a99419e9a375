export { DatabaseError } from './database.js';
export { type Leadership, lead } from './leadership.js';
export { macInput, Records, type Row } from './records.js';
