/** A backup that cannot be made or read: damaged, of another key, of a later version, or used wrongly. */
export class BackupError extends Error {
  override name = 'BackupError';
}

/** The key opens no such object: it is another one's, or the object was changed. */
export class Unopened extends BackupError {
  /** @param what as the message names it */
  constructor(what: string) {
    super(`${what} is damaged, or of another key`);
  }
}

/** A part that cannot be had as the list of files says it is. */
export class BadPart extends BackupError {}
