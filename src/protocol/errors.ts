import type { Exit } from './exits.js';

/** What the table says about one code. */
interface ErrorRow {
  /** number on the keeper's socket; never given to another code */
  readonly wire: number;
  /** HTTP status, RFC 9110 */
  readonly status: number;
  /** title of the problem document, RFC 9457; its type is `urn:bkv:problem:` and the code */
  readonly title: string;
  /** how a command or process ends with it */
  readonly exit: Exit;
  /** whether the process must end: no second try can mend it */
  readonly fatal: boolean;
}

const answer = (wire: number, status: number, title: string, exit: Exit = 'failed'): ErrorRow => ({
  wire,
  status,
  title,
  exit,
  fatal: false,
});
const fatal = (wire: number, title: string, exit: Exit): ErrorRow => ({
  wire,
  status: 503,
  title,
  exit,
  fatal: true,
});

/** Every error that a vault answers or ends with. The list is closed: any other error is `internal`. */
export const ERRORS = {
  internal: answer(1, 500, 'Internal error'),
  'invalid-request': answer(2, 400, 'The request is not valid'),
  'invalid-message': answer(3, 400, 'The message is not valid'),
  unauthorized: answer(4, 401, 'Not authenticated'),
  'wrong-password': answer(5, 403, 'Wrong password', 'wrongPassword'),
  'unknown-exchange': answer(6, 404, 'No such exchange'),
  'not-found': answer(7, 404, 'No such resource'),
  'no-backup': answer(8, 404, 'No backup token'),
  'too-large': answer(9, 413, 'The request is too large'),
  'unsupported-media-type': answer(10, 415, 'The body has an unsupported type'),
  locked: answer(11, 423, 'Locked for ever', 'locked'),
  'rate-limited': answer(12, 429, 'Too many requests'),
  overloaded: answer(13, 503, 'Overloaded'),
  unavailable: answer(14, 503, 'Not available'),
  'token-failed': answer(15, 503, 'The token failed'),
  'database-failed': answer(16, 503, 'The database failed'),
  'exchange-expired': answer(19, 410, 'The exchange has expired'),
  'forbidden-origin': answer(17, 403, 'Not allowed from this origin'),
  'attempts-under-way': answer(18, 429, 'Every attempt is under way'),
  'dealing-conflict': answer(24, 409, 'The dealing is in another state'),
  'key-exists': answer(20, 409, 'The account has a key'),
  usage: fatal(32, 'Used wrongly', 'usage'),
  'profile-invalid': fatal(33, 'The profile is wrong', 'usage'),
  'pin-refused': fatal(34, 'The PIN is refused', 'inVain'),
  'token-shared': fatal(35, 'Another vault took the token', 'inVain'),
  'ledger-corrupt': fatal(36, 'The retry counters are not whole', 'failed'),
  'foreign-database': fatal(38, 'Database and token are of two vaults', 'inVain'),
  'custodians-failed': fatal(37, 'The file of the custodians cannot be opened', 'failed'),
  'newer-version': fatal(40, 'A newer version has written here', 'inVain'),
  'older-version': fatal(41, 'An older version has written here', 'inVain'),
  interrupted: fatal(39, 'Interrupted', 'interrupted'),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

/** What a caller is told besides code and text. */
export interface ErrorDetails {
  /** wrong passwords that are still allowed */
  readonly attemptsRemaining?: number;
  /** seconds after which a new try has a chance */
  readonly retryAfter?: number;
}

/** An error of the table. Decisions are made by `code`, never by a name or a text. */
export class CodedError extends Error {
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly details: ErrorDetails = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The code of any error; `internal` for one that is not in the table. */
export const codeOf = (error: unknown): ErrorCode => (error instanceof CodedError ? error.code : 'internal');

const byWire = new Map<number, ErrorCode>(
  (Object.keys(ERRORS) as ErrorCode[]).map((code) => [ERRORS[code].wire, code]),
);

/** The code of a number on the keeper's socket; `undefined` when no code has it. */
export const codeOfWire = (wire: number): ErrorCode | undefined => byWire.get(wire);
