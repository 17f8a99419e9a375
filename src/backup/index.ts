export {
  type BackupSummary,
  backupEntries,
  type OpenFile,
  type Progress,
  type SourceEntry,
} from './backup.js';
export {
  BackupError,
  type DirectoryEntry,
  type Entry,
  type FileEntry,
  Format,
  type FormatKeys,
  keyInfo,
  NONCE_BYTES,
  PART_AAD,
  PART_BYTES,
  TAG_BYTES,
} from './format.js';
export { comparePaths } from './manifest.js';
export {
  type Damage,
  type Destination,
  type RestoreOptions,
  type RestoreSummary,
  restoreEntries,
} from './restore.js';
export { prune, type SnapshotInfo, snapshots, type Verdict, verify } from './snapshots.js';
