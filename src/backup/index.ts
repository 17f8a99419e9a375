export { backup, type Progress, restore, type Summary } from './backup.js';
export { BackupError } from './format.js';
