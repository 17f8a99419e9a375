export {
  type BackupSummary,
  backupEntries,
  type OpenFile,
  type Progress,
  type SourceEntry,
} from './backup.js';
export { BackupError, type DirectoryEntry, type Entry, type FileEntry } from './format.js';
export { type Damage, type Destination, type RestoreSummary, restoreEntries } from './restore.js';
export { prune, type SnapshotInfo, snapshots, type Verdict, verify } from './snapshots.js';
