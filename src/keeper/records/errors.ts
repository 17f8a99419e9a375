import { CodedError } from '../../protocol/index.js';

/** The database cannot be reached, or would lose what it acknowledged. */
export class DatabaseError extends CodedError {
  constructor(message: string) {
    super('database-failed', message);
  }
}
