/** A backup that cannot be made or read: damaged, of another key, of a later version, or used wrongly. */
export class BackupError extends Error {
  override name = 'BackupError';
}
