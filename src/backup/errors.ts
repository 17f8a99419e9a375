/** A backup cannot be made or read: it is damaged, has another key or a later version, or is used wrongly. */
export class BackupError extends Error {
  override name = 'BackupError';
}

/** The key does not open the object: it is another object's key, or the object was changed. */
export class Unopened extends BackupError {
  /** @param what the object's name in the message */
  constructor(what: string) {
    super(`${what} is damaged, or of another key`);
  }
}

/** A part is missing, or is not as the list of files describes it. */
export class BadPart extends BackupError {}
