import { MOST_DEALINGS, SIZES } from '../../protocol/terms.js';
import {
  base64url,
  bytes,
  type Field,
  fixed,
  flag,
  hex,
  list,
  nothing,
  oneOf,
  optional,
  struct,
  text,
  uint,
  word,
} from './fields.js';

/** What goes over the keeper's sockets: a row for each method of `KeeperApi`, and of `KeeperAdmin`. */
interface Row {
  /** u8 before a request's body; never given to another method */
  readonly number: number;
  readonly arguments: Field<unknown>;
  readonly result: Field<unknown>;
  /** of a `part` */
  readonly part?: Field<unknown>;
}

/** bytes of an element in its long SEC1 form */
const UNCOMPRESSED = 65;
const exchange = base64url(16);
const dealing = hex(16);
const record = fixed(SIZES.registrationRecord);
const encryptedBackupKey = bytes(1, 512);
/** JWTs have no limit of their own; HTTP takes headers of 16 KiB */
const caller = struct({ accessToken: text(16_384), requestId: word(64) });

/** For HTTP workers. */
export const API = {
  identity: {
    number: 1,
    arguments: nothing,
    result: struct({
      serverPublicKey: fixed(SIZES.element),
      maxAttempts: uint(2),
      exchangeSeconds: uint(2),
    }),
  },
  status: {
    number: 2,
    arguments: struct({ caller }),
    result: struct({
      state: oneOf('unregistered', 'registered', 'locked'),
      attemptsRemaining: optional(uint(2)),
      maxAttempts: optional(uint(2)),
      dealings: optional(
        list(struct({ dealing: text(32), proven: flag, attemptsRemaining: uint(2) }), MOST_DEALINGS),
      ),
    }),
  },
  delete: { number: 3, arguments: struct({ caller }), result: nothing },
  startRegistration: {
    number: 4,
    arguments: struct({
      caller,
      registrationRequest: fixed(SIZES.registrationRequest),
      keyshare: optional(fixed(SIZES.element)),
    }),
    result: struct({
      registrationId: exchange,
      registrationResponse: fixed(SIZES.registrationResponse),
      limit: uint(1),
      mac: optional(fixed(SIZES.mac)),
    }),
  },
  finishRegistration: {
    number: 5,
    arguments: struct({
      caller,
      registrationId: exchange,
      registrationRecord: record,
      encryptedBackupKey,
      replace: optional(flag),
      mac: optional(fixed(SIZES.mac)),
    }),
    result: nothing,
  },
  startShare: {
    number: 12,
    arguments: struct({ caller, dealing, index: uint(1), keyshare: fixed(SIZES.element) }),
    result: struct({
      registrationId: exchange,
      transportKey: fixed(SIZES.element),
      limit: uint(1),
      mac: fixed(SIZES.mac),
    }),
  },
  finishShare: {
    number: 13,
    arguments: struct({
      caller,
      registrationId: exchange,
      sharePublicKey: fixed(SIZES.element),
      wrappedShare: fixed(80),
      registrationRecord: record,
      encryptedBackupKey,
      mac: fixed(SIZES.mac),
    }),
    result: nothing,
  },
  commitDealing: { number: 7, arguments: struct({ caller, dealing }), result: nothing },
  startRecovery: {
    number: 8,
    arguments: struct({
      caller,
      KE1: fixed(SIZES.KE1),
      blindedElement: fixed(UNCOMPRESSED),
      clientKeyshare: fixed(UNCOMPRESSED),
      dealing: optional(dealing),
    }),
    result: struct({ recoveryId: exchange, KE2: fixed(SIZES.KE2), attemptsRemaining: uint(2) }),
  },
  finishRecovery: {
    number: 9,
    arguments: struct({ caller, recoveryId: exchange, KE3: fixed(SIZES.KE3) }),
    result: struct({ encryptedBackupKey: bytes(0, 512), failedAttempts: uint(1) }),
  },
  withdrawDealing: { number: 11, arguments: struct({ caller, dealing }), result: nothing },
  abandonRecovery: { number: 10, arguments: struct({ caller, recoveryId: exchange }), result: nothing },
} as const satisfies Record<string, Row>;

/** For the operator's side. */
export const ADMIN = {
  health: {
    number: 1,
    arguments: nothing,
    result: struct({ serverPublicKey: fixed(SIZES.element), trouble: optional(text(4096)) }),
  },
  metrics: { number: 2, arguments: nothing, result: struct({ page: text(2 ** 24) }) },
  backUp: { number: 3, arguments: nothing, result: struct({ backup: text(2 ** 27) }) },
  shred: {
    number: 4,
    arguments: struct({ all: flag, abandonLost: flag }),
    part: struct({ page: uint(4), moved: uint(4), lost: uint(4), done: flag }),
    result: nothing,
  },
} as const satisfies Record<string, Row>;

/** Why a call failed: a row of the table of errors. */
export const FAILURE = struct({
  wire: uint(2),
  message: text(4096),
  attemptsRemaining: optional(uint(2)),
  retryAfter: optional(uint(2)),
});

export type Methods = Record<string, Row>;
type ValueOf<F> = F extends Field<infer T> ? T : never;
export type ArgumentsOf<R extends Row> = ValueOf<R['arguments']>;
export type ResultOf<R extends Row> = ValueOf<R['result']>;

/** Most bytes of a frame that a caller may send: a JWT, and a method's other fields. */
export const REQUEST_LIMIT = 20_480;
export const ANSWER_LIMIT = 8192;
/** A backup of a token with many pages is large. */
export const ADMIN_ANSWER_LIMIT = 2 ** 27;
