export {
  type BackupOptions,
  type BackupSummary,
  backupEntries,
  type Progress,
} from './backup.js';
export {
  addOpener,
  type ChangeOptions,
  listOpeners,
  openerId,
  openerKinds,
  removeOpener,
  rotate,
} from './change-openers.js';
export { type Cipher, NONCE_BYTES, PART_BYTES, TAG_BYTES, webCipher } from './cipher.js';
export { BackupError, Unopened } from './errors.js';
export type { DirectoryEntry, Entry, FileEntry, Origin, Snapshot, SymlinkEntry } from './format.js';
export { NewerKey } from './keyring.js';
export { migrate } from './migrate.js';
export { type BackupKey, type Opener, type OpenerDetails, type OpenerInfo, openerOf } from './openers.js';
export { comparePaths, unsafePath } from './paths.js';
export { type Pruned, prune } from './prune.js';
export {
  type Damage,
  type Destination,
  DestinationError,
  type RestoreOptions,
  type RestoreSummary,
  restoreEntries,
  type Sink,
} from './restore.js';
export { OlderKeys, type SeenEpoch } from './seen.js';
export { type Choice, type Identity, identify, type Listing, snapshots } from './snapshots.js';
export type { FileInfo, LeftOut, OpenFile, Problem, SourceEntry } from './source.js';
export { type Verdict, type VerifyOptions, verify } from './verify.js';
