export { macInput, Records, type Row } from './records.js';
