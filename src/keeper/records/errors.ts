import { CodedError } from '../../protocol/terms.js';

/** A newer version of this program has written the database. */
export class NewerDatabase extends CodedError {
  constructor(reason: string) {
    super(
      'newer-version',
      `the database was written by a newer version of this program; run that one (${reason})`,
    );
  }
}

/** Version 0.1 has written the database. */
export class OlderDatabase extends CodedError {
  constructor() {
    super(
      'older-version',
      'the database has records of version 0.1, and this version cannot take them over. Nothing was changed. Name a new database for a new token (docs/operator.md, "From version 0.1")',
    );
  }
}

/** The database cannot be reached, or would lose what it acknowledged. */
export class DatabaseError extends CodedError {
  constructor(message: string, options?: ErrorOptions) {
    super('database-failed', message, {}, options);
  }

  /** What a database's client threw. A fault of this program stays what it is. */
  static of(error: unknown): unknown {
    if (error instanceof CodedError || error instanceof TypeError || error instanceof RangeError)
      return error;
    return new DatabaseError((error as Error).message, { cause: error });
  }
}
