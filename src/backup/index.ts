export { type BackupSummary, backup, type Progress } from './backup.js';
export { BackupError } from './format.js';
export { type Damage, type RestoreSummary, restore } from './restore.js';
export { prune, type SnapshotInfo, snapshots, type Verdict, verify } from './snapshots.js';
